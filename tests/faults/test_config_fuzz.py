"""Configurations with a few options changed, drawn by hypothesis: each is refused by one message, or it works.

What works is built and traced, a training step and all. What is refused takes less than five seconds of the processor.
"""

import signal
import time
import typing

import hypothesis
import jax
import pytest
from hypothesis import strategies as st

from cloze import options
from cloze.configs import base
from cloze.errors import ConfigError, DataError
from cloze.models.config import ModelConfig
from cloze.value_types import Duration, Name, Path, Pattern, Place, limits_of
from tests.faults import CHAOS
from tests.training import tiny_run

CONFIGS = 300 if CHAOS else 20
SECONDS = 5  # of the processor, to refuse; so that a machine under load is none the slower
FAMILIES = ("bert", "gpt2", "t5")
LEFT_OUT = {"data.cache_dir", "data.source", "data.tfds_dir", "train.compile_cache", "tokenizer.vocab_size"}  # places
TEXTS = ["", "x", "a\0b", "(", "two\nlines", "\ud800"]
TUPLES = [
    (), ((".*", True),), ((".*", False),), ((".*", 2.0),), ((".*", -1.0),), (("(", True),), (("x", None),), ("a",),
    (1, 2), ((".*", r"\1"),), ({},), ({"window": 4},), ((1, 2), 3), (("X", 3.0, 0.5),),
]  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzz")
    tiny_run.write_text(root / "text")
    for family in FAMILIES:  # the tokenizers are trained once
        tiny_run.build(tiny_run.config(family, root))
    return root


def values(hint, said):
    """Values of an option: those at the ends of what is declared, beyond them, and of other types."""
    kinds, limits = {hint, *typing.get_args(hint)}, limits_of(hint, said.limits)
    if said.choices:
        return [*said.choices, "x", ""]
    if bool in kinds:
        return [True, False]
    if hint == Duration or Duration in kinds or kinds >= set(typing.get_args(Duration)):
        return [0, 1, 2, -5, "1 epochs", "2e2 tokens", "1e400 tokens", "0 steps", "5 weeks", "", None]
    ends = [end for end in vars(limits).values() if end is not None]
    if int in kinds:
        return [-1, 0, 1, 2, 3, 8, 10**30, *(int(end) - 1 for end in ends[:1]), *(int(end) + 1 for end in ends[1:])]
    if float in kinds:
        return [*ends, -1.0, 0.0, 0.1, 0.5, 1.0, 7.0, float("nan"), float("inf"), 1e-9]
    return TEXTS if kinds & {str, Name, Path, Pattern, Place} else TUPLES


def known(config):
    """{option: values} of a configuration as it is now chosen."""
    found = {f"{name}.{key}": [*classes] for name, (key, classes, _) in base.CHOICES.items()}
    for section, cls in (*((name, cls) for name, cls, _ in base.declarations(config)), ("model", ModelConfig)):
        hints = typing.get_type_hints(cls)
        for name, field in options.declared(cls).items():
            found[f"{section}.{name}" if section else name] = values(hints[name], field.metadata["option"])
    return {name: some for name, some in found.items() if name not in LEFT_OUT}


def change(config, draw):
    """Changes one option; as on the command line, what ml_collections refuses is refused."""
    some = known(config)
    name = draw(st.sampled_from(sorted(some)))
    value = draw(st.sampled_from(some[name]))
    *path, last = name.split(".")
    try:
        (config[path[0]] if path else config)[last] = value
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise ConfigError(f"{name}: {error}") from error
    return name, value


def late(*_):
    raise TimeoutError("a configuration takes minutes")


@hypothesis.settings(
    max_examples=CONFIGS, derandomize=True, deadline=None, database=None, print_blob=False,
    suppress_health_check=list(hypothesis.HealthCheck), phases=[hypothesis.Phase.generate],
)  # fmt: skip
@hypothesis.given(st.data())
def test_refused_by_one_message_or_working(text, data):
    config = tiny_run.config(data.draw(st.sampled_from(FAMILIES)), text)
    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, 60)
    began = time.process_time()
    try:
        for _ in range(data.draw(st.integers(1, 3))):
            hypothesis.note(change(config, data.draw))
        program = tiny_run.build(config)
        with program.run.context():
            program.trace_train_step()
    except (ConfigError, DataError) as error:
        assert str(error) and "Traceback" not in str(error)
        assert time.process_time() - began < SECONDS, error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        jax.clear_caches()
