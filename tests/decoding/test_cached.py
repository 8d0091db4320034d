"""A pass with a cache computes what a pass without one computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cloze import decoding, models
from cloze.errors import ConfigError
from tests.decoding import models as tiny

FULL = dict(prefix="full")
CASES = {
    "gpt2 unrolled, prefix": ("gpt2", "small", dict(scan=False), FULL),
    "gpt2 after a prompt and a prefix": ("gpt2", "small", dict(prompt_length=2, prefix_length=3), FULL),
    "llama": ("llama", "3.2_1b", dict(rope_scaling=(8.0, 1.0, 4.0, 6.0)), {}),
    "mistral, prefix": ("mistral", "7b", dict(window=3), FULL),
    "pythia": ("pythia", "70m", dict(rotary_share=0.5), {}),
    "gemma": ("gemma", "2b", {}, {}),
    "gemma2, prefix": ("gemma2", "2b", dict(window=3), FULL),
    "gemma3": ("gemma3", "1b", dict(window=3, pattern=((), (("rope_theta", 1e6), ("window", 0)))), {}),
    "qwen2": ("qwen2", "0.5b", dict(pattern=((), (("window", 2),))), {}),
    "relative bias, prefix": ("t5", "prefix_lm_base", {}, FULL),
    "shared layers": ("gpt2", "small", dict(shared_layers=True), {}),
    "t5, unrolled, after a prompt": ("t5", "small", dict(prompt_length=2, scan=False), {}),
    "shared stacks": ("t5", "shared_base", {}, {}),
    "bart": ("bart", "base", {}, {}),
    "transformer": ("transformer", "base", {}, {}),
}


APART = ("mistral, prefix", "gemma3", "shared layers", "t5, unrolled, after a prompt", "bart")


def compare(family, preset, changes, options, ready=lambda params: params):
    """Logits [B, WRITTEN + 1, V] after the prompts and after each token behind them: (with a cache, without)."""
    model, params = tiny.build(family, preset, **changes)
    writing, given = ready(params), tiny.batch(model.config)
    written = np.random.default_rng(1).integers(1, tiny.VOCAB, (tiny.ROWS, tiny.WRITTEN)).astype(np.int32)

    @jax.jit
    def both(params, writing, given, whole):
        logits, cache = decoding.prefill(
            model, writing, given, jnp.asarray(tiny.PROMPT_LENGTHS), tiny.PROMPT + tiny.WRITTEN, **options
        )

        def step(cache, tokens_B):
            logits, cache = decoding.step(model, writing, tokens_B, cache)
            return cache, logits

        _, later = jax.lax.scan(step, cache, jnp.asarray(written).T)
        return jnp.concatenate([logits[None], later]).swapaxes(0, 1), model.apply({"params": params}, whole).logits

    cached, everywhere = both(params, writing, given, tiny.whole(model.config, given, written, **options))
    places = tiny.PROMPT_LENGTHS[:, None] - 1 + np.arange(tiny.WRITTEN + 1)
    return cached, np.take_along_axis(np.asarray(everywhere), places[..., None], axis=1)


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_a_whole_pass(case):
    cached, expected = compare(*CASES[case])
    assert np.ptp(expected, axis=1).max() > 0.5  # which token it is makes a difference
    np.testing.assert_allclose(cached, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("case", APART)
def test_parameters_for_writing_compute_the_same(case):
    cached, expected = compare(*CASES[case], ready=decoding.for_writing)
    np.testing.assert_allclose(cached, expected, atol=2e-5 * np.abs(expected).max())


def test_half_precision():
    """What is read from a cache is as near to float32 as what is computed at once; how far depends on the compiler."""
    cached, at_once = compare("llama", "3.2_1b", dict(dtype="bfloat16"), {})
    exact = compare("llama", "3.2_1b", {}, {})[1]
    rounding = np.abs(at_once - exact).max()
    assert 0 < rounding < 0.1 * np.abs(exact).max()
    assert np.abs(cached - exact).max() < 2 * rounding


@pytest.mark.parametrize(
    "family, preset, changes, options, message",
    [
        ("bert", "base", {}, {}, "writes no text"),
        ("gpt2", "small", dict(heads_out=("class",)), {}, "writes no text"),
        ("gpt2", "small", {}, dict(prefix="half"), "prefix='half'"),
        ("gpt2", "small", {}, dict(length=14), "positions for 13"),
        ("gpt2", "small", dict(prompt_length=4), dict(length=10), "positions for 9"),
        ("gpt2", "small", {}, dict(length=5), "prompts of 6 tokens"),
        ("t5", "small", {}, dict(prefix="full"), "is of decoders"),
        ("xlnet", "base", dict(architecture="decoder"), {}, "transformer_xl"),
    ],
)
def test_what_cannot_be_run_is_refused(family, preset, changes, options, message):
    model = models.build(models.resolve(dict(family=family, preset=preset, max_positions=13, **changes)))
    given = {"tokens": np.ones((1, 6), np.int32), "decoder_tokens": np.ones((1, 6), np.int32)}
    with pytest.raises(ConfigError, match=message):
        decoding.prefill(model, {}, given, np.ones(1, np.int32), **{"length": 8, **options})
