"""Each token is predicted from either side, within its own document."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from cloze.errors import ConfigError
from cloze.models import Outputs

LENGTH = 9


@pytest.fixture(scope="module")
def corrupt(build):
    objective = build("bidirectional_lm", data__sequence_length=LENGTH, data__packing="documents")
    return jax.jit(objective.corrupt)


@hypothesis.given(lengths=st.lists(st.integers(1, LENGTH), max_size=LENGTH))
@hypothesis.example(lengths=[])
@hypothesis.example(lengths=[1])
@hypothesis.example(lengths=[2])
@hypothesis.example(lengths=[LENGTH])
@hypothesis.settings(deadline=None, max_examples=40)
def test_neighbours_of_one_document_are_predicted_from_either_side(corrupt, lengths):
    segments = np.repeat(np.arange(1, len(lengths) + 1), lengths)[:LENGTH]
    segments = np.pad(segments, (0, LENGTH - len(segments))).astype(np.int32)
    tokens = np.arange(LENGTH, dtype=np.int32) + 6
    batch = corrupt(jax.random.key(0), {"tokens": tokens[None], "segments": segments[None], "row": np.zeros(1, int)})
    np.testing.assert_array_equal(batch["tokens"][0], tokens)
    for t in range(LENGTH):
        next_one = t + 1 < LENGTH and segments[t] > 0 and segments[t + 1] == segments[t]
        last_one = t > 0 and segments[t] > 0 and segments[t - 1] == segments[t]
        assert batch["target_weights"][0, t] == float(next_one)
        assert batch["backward_weights"][0, t] == float(last_one)
        assert not next_one or batch["targets"][0, t] == tokens[t + 1]
        assert not last_one or batch["backward_targets"][0, t] == tokens[t - 1]


def test_loss_is_the_mean_of_both_directions(build):
    objective = build("bidirectional_lm", data__sequence_length=LENGTH)
    rng = np.random.default_rng(0)
    tokens = rng.integers(6, 32, (2, LENGTH)).astype(np.int32)
    batch = objective.corrupt(jax.random.key(0), {"tokens": tokens, "row": np.arange(2)})
    logits = {name: rng.normal(size=(2, LENGTH, 40)) for name in ("lm", "backward_lm")}
    terms = objective.loss(Outputs(heads={k: jnp.asarray(v, jnp.float32) for k, v in logits.items()}), batch)
    log_p = {name: x - np.log(np.exp(x).sum(-1, keepdims=True)) for name, x in logits.items()}
    forward = backward = 0.0
    for b in range(2):
        for t in range(LENGTH - 1):
            forward -= log_p["lm"][b, t, tokens[b, t + 1]]
            backward -= log_p["backward_lm"][b, t + 1, tokens[b, t]]
    np.testing.assert_allclose(terms["forward"].sum, forward, rtol=1e-5)
    np.testing.assert_allclose(terms["backward"].sum, backward, rtol=1e-5)
    assert terms["forward"].weight == terms["backward"].weight == 2 * (LENGTH - 1)
    coefficients = {name: term.coefficient for name, term in terms.items()}
    assert coefficients == {"forward": 0.5, "backward": 0.5, "forward_accuracy": 0.0, "backward_accuracy": 0.0}


def test_declares_what_it_reads(build):
    objective = build("bidirectional_lm", data__sequence_length=LENGTH)
    assert (objective.rows.kind, objective.rows.length, objective.rows.document_end) == ("windows", LENGTH, 5)
    assert objective.outputs == ("lm",)


@pytest.mark.parametrize("options, message", [
    (dict(data__sequence_length=1), "at least 2"),
    (dict(data__packing="sentences"), "leave it at windows"),
    (dict(objective__label_smoothing=1.0), "label_smoothing"),
    (dict(model={"architecture": "decoder"}), "one of elmo, or objective.name to one of .*causal_lm"),
])  # fmt: skip
def test_bad_options_are_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("bidirectional_lm", **options)


def test_needs_a_token_that_ends_texts(build, tables):
    with pytest.raises(ConfigError, match="special token eos, .*tokenizer.kind=word"):
        build("bidirectional_lm", tables=tables(eos=None))
