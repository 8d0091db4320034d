"""A source and a tokenizer small enough to check by hand, and corpora made with them."""

import hashlib
import re

import numpy as np

from cloze.data import corpus, sources


class Source:
    """Documents from a list."""

    name = "list of texts"

    def __init__(self, texts):
        self.texts = list(texts)

    def fingerprint(self):
        return hashlib.sha256("\0".join(self.texts).encode()).hexdigest()

    def pieces(self):
        return [sources.Piece(1, number) for number in range(len(self.texts))]

    def documents(self, skip=0, pieces=None):
        pieces = self.pieces() if pieces is None else pieces
        yield from [self.texts[piece.place] for piece in pieces][skip:]


class Tokenizer:
    """The word `17` is token 17; full stops and the like are not tokens."""

    hash = "numbers"

    def __init__(self, vocab_size=60_000):
        self.vocab_size = vocab_size

    def encode_batch(self, texts):
        return [ids for ids, _ in self.encode_with_offsets(texts)]

    def encode_with_offsets(self, texts):
        found = [list(re.finditer(r"\d+", text)) for text in texts]
        return [
            (
                np.array([int(word.group()) for word in words], np.int32),
                np.array([word.span() for word in words], np.int32).reshape(-1, 2),
            )
            for words in found
        ]


def text(document):
    """A document given as lists of token ids, one per sentence -> text."""
    return " ".join(" ".join(str(token) for token in sentence) + "." for sentence in document)


def prepare(documents, directory, **options):
    """A corpus of documents given as lists of sentences of token ids."""
    settings = {"document_end": None, "validation_share": 0.0, **options}
    return corpus.prepare(Source(map(text, documents)), Tokenizer(), directory, **settings)


def split_of_lengths(lengths, directory):
    """A train split of one-sentence documents with the given lengths, over tokens 10, 11, 12, ..."""
    stops = np.cumsum(lengths) + 10
    documents = [[range(stop - length, stop)] for stop, length in zip(stops, lengths, strict=True)]
    return prepare(documents, directory).split("train")
