"""Each token is predicted from those before it, within its own document."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from cloze.models.outputs import Outputs

LENGTH = 9  # of a row as read; the model sees 8


def test_windows_are_shifted_and_scored_everywhere(build):
    objective = build("causal_lm", data__sequence_length=LENGTH - 1)
    tokens = np.arange(2 * LENGTH, dtype=np.int32).reshape(2, LENGTH) + 6
    batch = objective.corrupt(jax.random.key(0), {"tokens": tokens, "row": np.arange(2)})
    assert set(batch) == {"tokens", "targets", "target_weights"}
    np.testing.assert_array_equal(batch["tokens"], tokens[:, :-1])
    np.testing.assert_array_equal(batch["targets"], tokens[:, 1:])
    np.testing.assert_array_equal(batch["target_weights"], np.ones((2, LENGTH - 1)))


def test_declares_what_it_reads(build, tables):
    objective = build("causal_lm", data__sequence_length=16, data__packing="documents")
    assert (objective.rows.kind, objective.rows.length, objective.rows.document_end) == ("documents", 17, 5)
    assert (objective.rows.start, objective.rows.end, objective.outputs) == ((), (), ("lm",))
    assert build("causal_lm", data__sequence_length=16).rows.kind == "windows"
    assert build("causal_lm", tables=tables(pad=None)).rows.pad == 5


@hypothesis.given(lengths=st.lists(st.integers(1, LENGTH), max_size=LENGTH))
@hypothesis.example(lengths=[])
@hypothesis.example(lengths=[1])
@hypothesis.example(lengths=[2])
@hypothesis.example(lengths=[LENGTH])
@hypothesis.settings(deadline=None, max_examples=40)
def test_packed_documents_never_predict_across_a_boundary(build, lengths):
    objective = build("causal_lm", data__sequence_length=LENGTH - 1, data__packing="documents")
    pieces = [(s, p) for s, n in enumerate(lengths, start=1) for p in range(n)][:LENGTH]
    padding = LENGTH - len(pieces)
    segments, positions = np.array([*pieces, *[(0, 0)] * padding], np.int32).T
    tokens = np.arange(LENGTH, dtype=np.int32) + 6
    rows = {"tokens": tokens, "segments": segments, "positions": positions}
    batch = objective.corrupt(
        jax.random.key(0), {name: value[None] for name, value in rows.items()} | {"row": np.zeros(1, np.int32)}
    )
    for t in range(LENGTH - 1):
        scored = segments[t] != 0 and segments[t + 1] == segments[t]
        assert batch["target_weights"][0, t] == float(scored)
    # Every document but its first token is predicted, once.
    assert batch["target_weights"].sum() == len(pieces) - len({s for s, _ in pieces})
    np.testing.assert_array_equal(batch["segments"][0], segments[:-1])
    np.testing.assert_array_equal(batch["positions"][0], positions[:-1])


def test_loss_uses_the_options(build):
    logits = jax.random.normal(jax.random.key(1), (1, 4, 40))
    batch = {"targets": jnp.array([[6, 7, 8, 9]]), "target_weights": jnp.ones((1, 4))}
    outputs = Outputs(heads={"lm": logits})
    plain = build("causal_lm").loss(outputs, batch)["loss"].sum
    smooth = build("causal_lm", objective__label_smoothing=0.3).loss(outputs, batch)["loss"].sum
    squared = build("causal_lm", objective__z_loss=0.5).loss(outputs, batch)["loss"].sum
    log_p = jax.nn.log_softmax(logits[0])
    np.testing.assert_allclose(plain, -log_p[np.arange(4), [6, 7, 8, 9]].sum(), rtol=1e-5)
    np.testing.assert_allclose(smooth, 0.7 * plain - 0.3 * log_p.mean(-1).sum(), rtol=1e-5)
    log_z = jax.nn.logsumexp(logits[0], axis=-1)
    np.testing.assert_allclose(squared, plain + 0.5 * (log_z**2).sum(), rtol=1e-5)
