"""What is read: sources of text, tokenizers, prepared corpora, rows and batches by step."""
