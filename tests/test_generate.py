"""What `generate.py` may write, and which prompts it refuses; whole commands are in test_verbs."""

import collections
import types

import jax.numpy as jnp
import numpy as np
import pytest

from cloze import generate
from cloze.errors import ConfigError
from cloze.training import evaluation

Outputs = collections.namedtuple("Outputs", "logits")


def test_a_blank_is_filled_with_pieces_of_text_only():
    """Ids: 0 is special, 1 to 4 are text, 5 has no piece, 6 and 7 are spare rows of the model alone."""
    logits = jnp.arange(8.0)[None, None].repeat(4, axis=1)
    trained = types.SimpleNamespace(
        config=types.SimpleNamespace(data=types.SimpleNamespace(sequence_length=4)),
        model=types.SimpleNamespace(apply=lambda params, batch: Outputs(logits)),
        params={},
        tokenizer=types.SimpleNamespace(
            tables=types.SimpleNamespace(vocab_size=6, special=np.arange(6) == 0), has_piece=np.arange(6) != 5
        ),
    )
    ((best, second, *rest),) = generate.fill(trained, np.array([0, 1, 2], np.int32), np.array([1]), 20)
    assert [i for i, _ in (best, second, *rest)] == [4, 3, 2, 1]
    assert best[1] / second[1] == pytest.approx(np.e) and sum(p for _, p in (best, second, *rest)) == pytest.approx(1)


def test_a_prompt_of_which_nothing_is_left_is_refused(monkeypatch):
    written = []

    def write(examples, max_tokens):
        written.extend(examples)
        return ["more"]

    writer = types.SimpleNamespace(layout=types.SimpleNamespace(start=()), two_streams=False, write=write)
    monkeypatch.setattr(evaluation, "writer", lambda trained, batch_size: writer)
    monkeypatch.setattr(generate, "MAX_TOKENS", types.SimpleNamespace(value=1))
    trained = types.SimpleNamespace(tokenizer=types.SimpleNamespace(encode=lambda text: list(text.strip())))
    monkeypatch.setattr(generate, "PROMPT", types.SimpleNamespace(value=["a", " \n"]))
    with pytest.raises(ConfigError, match=r"--prompt=' \\n': the tokenizer leaves nothing"):
        generate.print_written(trained)
    assert not written  # before anything is computed
    writer.layout.start = (2,)  # there is a token to go on from
    generate.print_written(trained)
    assert len(written) == 2
