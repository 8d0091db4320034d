"""What generate.py asks of a masked language model: prompts with blanks, and how they may be filled."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cloze.decoding import blanks as decoding
from cloze.errors import ConfigError


def answers(trained: Any, prompts: Sequence[str], *, pieces: int, candidates: int) -> Iterator[dict[str, Any]]:
    """Yields what fills the blanks of each prompt.

    Args:
        trained: training.restore.Trained, whose model has the head "mlm".
        prompts: texts with the piece of the tokenizer's mask where pieces are missing.
        pieces: pieces of a blank at most, where blanks are filled together.
        candidates: of each blank, and ways to fill all of them, at most.

    Yields:
        {"text": with the best filling, "blanks": [[(piece, probability)]] for each blank by itself, and where there are
        several blanks or pieces "together": [{"text", "score"}], the best first}.

    Raises:
        ConfigError: a prompt has no blank or is too long, or there are too many combinations. Nothing is run before.
    """
    encoded = [_encode(trained, prompt) for prompt in prompts]
    for _, blanks in encoded:
        if pieces > 1 and pieces ** len(blanks) > decoding.MOST_SHAPES:
            raise ConfigError(
                f"--pieces={pieces} for {len(blanks)} blanks are {pieces ** len(blanks)} combinations, more than "
                f"{decoding.MOST_SHAPES}: lower it, or ask for fewer blanks at once"
            )
    for ids, blanks in encoded:
        yield _answer(trained, ids, blanks, pieces, candidates)


def _answer(trained, ids, blanks, pieces, candidates):
    tokenizer = trained.tokenizer
    given = trained.model, trained.params, ids, blanks, ~tokenizer.tables.special & tokenizer.has_piece
    sizes = dict(length=trained.config.data.sequence_length, count=candidates)
    alone, together = decoding.fill(*given, **sizes), []
    if len(blanks) > 1 or pieces > 1:
        together = decoding.fill_together(*given, mask=tokenizer.tables.mask, most_pieces=pieces, **sizes)
    filled = ids.copy()
    filled[blanks] = [some[0][0] for some in alone]
    ways = [{"text": tokenizer.decode(way.ids), "score": way.score} for way in together]
    return {
        "text": ways[0]["text"] if ways else tokenizer.decode(filled),
        "blanks": [[(tokenizer.piece(i), p) for i, p in some] for some in alone],
        **({"together": ways} if ways else {}),
    }


def _encode(trained, prompt):
    """(ids int32 [T] with the tokenizer's frame around them, places of the blanks)."""
    tables = trained.tokenizer.tables
    around = [[] if i is None else [i] for i in (tables.cls, tables.sep)]
    ids = np.concatenate([around[0], trained.tokenizer.encode_blanks(prompt), around[1]]).astype(np.int32)
    blanks = np.flatnonzero(ids == tables.mask)
    longest = trained.config.data.sequence_length
    if not len(blanks):
        mask = trained.tokenizer.piece(tables.mask)
        raise ConfigError(f"--prompt={prompt!r} has no blank: write {mask} where a piece is missing")
    if len(ids) > longest:
        raise ConfigError(f"--prompt has {len(ids)} pieces, more than the {longest} that the model was trained on")
    return ids, blanks
