"""Features of labelled examples with random lengths and contents, as `data.encoding.encode` would give them."""

import numpy as np

from cloze.data.encoding import Layout
from cloze.data.examples import Features

LENGTH, VOCAB, LABELS = 16, 60, 3


def layout(kind, architecture="encoder", **options):
    settings = dict(pool="last", types=architecture == "encoder", length=LENGTH)
    if kind == "text" and architecture == "encoder_decoder":
        settings |= dict(target_length=8, target_start=(2,), decoder_start=1)
    return Layout(kind, architecture, **settings | options)


def features(lengths, made, seed=0):
    """Features of a layout.

    Args:
        lengths: of each feature a list of the lengths of its texts.
        made: Layout.
        seed: of the contents: tokens from 10 on, types, labels and so on.
    """
    rng = np.random.default_rng(seed)
    n, flat = len(lengths), np.array([length for texts in lengths for length in texts])
    texts, size = len(flat), int(flat.sum())
    arrays = {
        "tokens": rng.integers(10, VOCAB, size, dtype=np.int32),
        "offsets": np.concatenate([[0], np.cumsum(flat)]),
        "first_text": np.concatenate([[0], np.cumsum([len(some) for some in lengths])]),
        "types": rng.integers(0, flat + 1).astype(np.int32),
        "pool": (flat - 1 if made.pool == "last" else np.zeros(texts)).astype(np.int32),
        "example": np.arange(n, dtype=np.int32),
    }
    if made.kind in ("class", "choice"):
        most = [LABELS if made.kind == "class" else len(some) for some in lengths]
        arrays["labels"] = rng.integers(0, most).astype(np.int32)
    elif made.kind == "regression":
        arrays["labels"] = rng.normal(size=n).astype(np.float32)
    elif made.kind == "tag":
        arrays["token_labels"] = rng.integers(-1, LABELS, size, dtype=np.int32)
    elif made.kind == "span":
        arrays["labels"] = np.sort(rng.integers(0, flat[:, None], (n, 2)), axis=1).astype(np.int32)
    elif made.architecture == "encoder_decoder":
        sizes = rng.integers(0, made.target_length + 1, n)  # none: the answer is not known
        arrays["target_offsets"] = np.concatenate([[0], np.cumsum(sizes)])
        arrays["target_tokens"] = rng.integers(10, VOCAB, int(sizes.sum()), dtype=np.int32)
    else:
        arrays["scored"] = rng.integers(0, 2, size).astype(np.uint8)
        arrays["scored"][arrays["offsets"][:-1]] = 0  # the first token of a text
        arrays["prefix"] = rng.integers(1, flat + 1).astype(np.int32)
    return Features(arrays, made, n, labels="abc" if made.kind in ("class", "tag") else ())
