"""Prefix language modelling: every cut is as likely, and nothing is lost; layouts are tested in test_text_to_text."""

import jax
import numpy as np
import pytest
from scipy import stats

from cloze.errors import ConfigError

LENGTH, EOS = 12, 5
UNLIKELY = 1e-6  # statistical tests have fixed seeds; a wrong share gives far less


@pytest.fixture(scope="module")
def objective(build):
    return build("prefix_lm", data__sequence_length=LENGTH)


def window_rows(count, length=LENGTH):
    tokens = np.random.default_rng(0).integers(6, 32, (count, length), dtype=np.int32)
    return {"tokens": tokens, "row": np.arange(count, dtype=np.int32)}


def test_cuts_are_uniform_and_the_text_is_in_both_parts_together(objective):
    rows = window_rows(8192)
    batch = {name: np.asarray(x) for name, x in jax.jit(objective.corrupt)(jax.random.key(0), rows).items()}
    cuts = batch["segments"].sum(1) - 1
    seen = np.bincount(cuts, minlength=LENGTH + 1)
    assert seen[0] == seen[LENGTH] == 0 and stats.chisquare(seen[1:LENGTH]).pvalue > UNLIKELY
    # The same as a loop that draws each row's cut on its own.
    rng = np.random.default_rng(1)
    reference = np.bincount([rng.integers(1, LENGTH) for _ in range(8192)], minlength=LENGTH + 1)
    assert stats.chi2_contingency([seen[1:LENGTH], reference[1:LENGTH]]).pvalue > UNLIKELY
    for r in range(64):
        inputs, targets = batch["tokens"][r, : cuts[r]], batch["targets"][r, : LENGTH - cuts[r]]
        np.testing.assert_array_equal(np.concatenate([inputs, targets]), rows["tokens"][r])
        assert batch["tokens"][r, cuts[r]] == batch["targets"][r, LENGTH - cuts[r]] == EOS
        assert batch["target_weights"][r].sum() == LENGTH - cuts[r] + 1


def test_bits_depend_on_key_and_place_only(objective):
    corrupt, rows, key = jax.jit(objective.corrupt), window_rows(4), jax.random.key(4)
    whole, again, other = corrupt(key, rows), corrupt(key, rows), corrupt(jax.random.fold_in(key, 1), rows)
    part = corrupt(key, {name: value[2:4] for name, value in rows.items()})
    for name, array in whole.items():
        np.testing.assert_array_equal(array, again[name])
        np.testing.assert_array_equal(array[2:4], part[name])
    assert (whole["tokens"] != other["tokens"]).any()
    assert "callback" not in str(jax.make_jaxpr(objective.corrupt)(key, rows))


def test_a_decoder_reads_as_a_language_model_and_documents_end(build, tables):
    objective = build("prefix_lm", data__sequence_length=LENGTH, model={"architecture": "decoder"})
    assert (objective.rows.length, objective.rows.document_end) == (LENGTH + 1, EOS)
    batch = jax.jit(objective.corrupt)(jax.random.key(0), window_rows(2, LENGTH + 1))
    assert {name: array.shape for name, array in batch.items()} == dict.fromkeys(
        ("tokens", "targets", "target_weights", "ranks"), (2, LENGTH)
    )
    with pytest.raises(ConfigError, match="data.target_length=12 does not go with objective.name=prefix_lm of a dec"):
        build("prefix_lm", data__target_length=12, model={"architecture": "decoder"})
    without = build("prefix_lm", tables=tables(pad=None), model={"architecture": "decoder"})
    assert without.rows.pad == EOS


@pytest.mark.parametrize(
    "options, message",
    [
        ({"data__sequence_length": 1}, "at least 2"),
        ({"data__packing": "documents"}, "data.packing=documents does not go"),
        ({"data__sequence_length": 64, "data__target_length": 63}, "set it to 64 or more"),
    ],
)
def test_bad_configurations_are_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("prefix_lm", **options)


def test_tokenizers_without_needed_tokens_are_refused(build, tables):
    for missing in ("eos", "pad"):
        with pytest.raises(ConfigError, match=f"special token {missing}"):
            build("prefix_lm", tables=tables(**{missing: None}))
    with pytest.raises(ConfigError, match="special token eos"):
        build("prefix_lm", tables=tables(eos=None), model={"architecture": "decoder"})
