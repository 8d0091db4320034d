"""One file a family: its published sizes."""
