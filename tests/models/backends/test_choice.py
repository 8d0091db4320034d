"""Which backend takes which attention: a table, and what a user reads of it."""

import dataclasses

import jax
import pytest

from cloze import models
from cloze.errors import ConfigError
from cloze.models.backends import choice
from cloze.models.backends.choice import Case
from cloze.models.platforms import planned_for
from tests.models import tiny

CPU, TPU = Case(platform="cpu"), Case(platform="tpu")
GPU = Case(platform="gpu", capability=(9, 0))
TABLE = {
    "a CPU has the reference": (CPU, {}, "einsum"),
    "and long rows with windows block by block": (CPU, dict(window=65, segments=True, dropout=True), "local"),
    "of rows twice as long as what a query meets": (CPU, dict(window=65, queries=384, keys=384), "local"),
    "but not of shorter ones": (CPU, dict(window=65, queries=376, keys=376), "einsum"),
    "causal windows meet less": (CPU, dict(window=65, causal=True, queries=256, keys=256), "local"),
    "TPU": (TPU, {}, "splash"),
    "TPU, packed, causal, soft cap, window": (
        TPU,
        dict(segments=True, causal=True, softcap=True, window=65),
        "splash",
    ),
    "TPU, BERT trains": (TPU, dict(segments=True, dropout=True), "flash"),
    "TPU, T5": (TPU, dict(bias_rows=1), "flash"),
    "TPU, prefix LM": (TPU, dict(ranks=True), "flash"),
    "TPU, generator of JAX": (TPU, dict(dropout=True, counted=False), "einsum"),
    "TPU, window, generator of JAX": (TPU, dict(dropout=True, counted=False, window=65), "local"),
    "TPU, prefix tuning": (TPU, dict(prefix=8), "einsum"),
    "TPU, short rows": (TPU, dict(queries=64, keys=64), "einsum"),
    "TPU, cut rows": (TPU, dict(length_cuts=2), "einsum"),
    "TPU, uneven rows": (TPU, dict(rows=6, row_cuts=4), "einsum"),
    "TPU, uneven heads": (TPU, dict(kv_heads=2, head_cuts=4), "einsum"),
    "TPU, very long rows with a bias": (TPU, dict(queries=8192, keys=8192, bias_rows=1), "einsum"),
    "TPU, very long rows": (TPU, dict(queries=32768, keys=32768), "splash"),
    "TPU, a cache": (TPU, dict(queries=8, placed=True, ranks=True), "einsum"),
    "TPU, one query": (TPU, dict(queries=1), "einsum"),
    "GPU, whole": (GPU, {}, "cudnn"),
    "GPU, causal, window": (GPU, dict(causal=True, window=128), "cudnn"),
    "GPU, two-sided window": (GPU, dict(window=65), "flash"),
    "GPU, T5": (GPU, dict(bias_rows=1), "cudnn"),
    "GPU, bias of each row": (GPU, dict(bias_rows=8), "flash"),
    "GPU, odd lengths with a bias": (GPU, dict(bias_rows=1, queries=511, keys=511), "flash"),
    "GPU, packed": (GPU, dict(segments=True), "flash"),
    "GPU, dropout": (GPU, dict(dropout=True), "flash"),
    "GPU, soft cap": (GPU, dict(softcap=True), "flash"),
    "GPU, f32": (GPU, dict(dtype="float32"), "flash"),
    "GPU, wide heads": (GPU, dict(head_dim=256), "cudnn"),
    "GPU, wide heads, Ampere": (GPU, dict(head_dim=256, capability=(8, 0)), "flash"),
    "GPU, wider heads": (GPU, dict(head_dim=320), "einsum"),
    "GPU, Turing": (GPU, dict(capability=(7, 5)), "einsum"),
    "GPU, not known": (GPU, dict(capability=None), "cudnn"),
    "GPU, cut rows": (GPU, dict(length_cuts=2), "einsum"),
    "GPU, a cache": (GPU, dict(queries=1, placed=True, ranks=True), "einsum"),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_table(name):
    case, changes, expected = TABLE[name]
    chosen = choice.choose(dataclasses.replace(case, **changes))
    assert chosen.backend == expected, str(chosen)
    assert all(reason for _, reason in chosen.refused)


def test_the_log_says_what_was_refused_and_why():
    packed = dataclasses.replace(GPU, segments=True, dropout=True)
    assert choice.line([choice.choose(packed), choice.choose(GPU)]) == (
        "Attention: bidirectional + segments + dropout by flash (not cudnn: has no attention dropout whose bits follow "
        "from seed and step), bidirectional by cudnn"
    )
    assert str(choice.choose(CPU)) == "bidirectional by einsum"
    short = dataclasses.replace(CPU, window=65, queries=100, keys=100)
    assert str(choice.choose(short)) == (
        "bidirectional + window 65 by einsum (not local: meets 192 keys a query, more than half of 100)"
    )


def test_a_model_with_a_pattern_makes_a_choice_for_each_kind_of_layer():
    c = tiny.config("bert", pattern=({}, {"window": 9}, {"window": 9}))
    data, params = tiny.batch("bert", length=64), tiny.parameters("bert")
    with choice.recorded() as choices:
        jax.eval_shape(lambda p: models.Transformer(c).apply({"params": p}, data).logits, params)
    assert [chosen.backend for chosen in choices] == ["einsum", "local"]


@pytest.mark.parametrize(
    "name, changes, words",
    [
        ("splash", dict(bias_rows=1), "splash has no bias on scores"),
        ("splash", dict(platform="gpu"), "splash needs a TPU, here are devices of kind gpu"),
        ("cudnn", {}, "cudnn needs an NVIDIA GPU, here are devices of kind cpu"),
        ("cudnn", dict(platform="gpu", dtype="float32"), "cudnn needs bfloat16"),
        ("flash", dict(dropout=True, counted=False), "flash makes dropout's bits by train.dropout_generator=counter"),
        ("local", dict(window=9, bias_rows=1), "local has no bias"),
        ("xla", dict(dropout=True), "xla has no attention dropout"),
    ],
)
def test_what_a_named_backend_does_not_compute_is_refused(name, changes, words):
    with pytest.raises(ConfigError, match=words):
        choice.asked(name, dataclasses.replace(CPU, **changes))


def test_a_named_backend_leaves_to_others_what_it_is_not_for():
    cached = dataclasses.replace(TPU, queries=1, placed=True, ranks=True)
    assert choice.asked("splash", cached).backend == "einsum"
    assert choice.asked("local", TPU).backend == "splash"
    assert choice.asked("cudnn", dataclasses.replace(GPU, segments=True)).backend == "cudnn"


def test_a_configuration_is_held_to_its_backend_before_there_is_data():
    for name, changes, words in (
        ("splash", dict(attention_dropout=0.1), "splash has no attention dropout"),
        ("cudnn", dict(attention_softcap=5.0, dtype="bfloat16"), "cudnn has no soft cap"),
    ):
        with pytest.raises(ConfigError, match=words):
            tiny.config("gpt2", attention_backend=name, **changes)
    assert tiny.config("gpt2", attention_backend="flash", attention_dropout=0.1)


def test_what_is_planned_has_the_kernels_of_its_devices():
    """Also where the mesh in context is of this machine, as when a plan is estimated."""
    with planned_for("tpu"):
        assert choice.devices() == ("tpu", None)
    assert choice.devices() == ("cpu", None)
