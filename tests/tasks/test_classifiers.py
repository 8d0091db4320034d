"""A classifier learns a task through the training step, and one that does not fit it is refused."""

import importlib

import numpy as np
import pytest

from cloze.errors import ConfigError
from tests.training import tiny_run

SETTINGS = dict(
    objective__name="supervised", task__name="package", model__num_labels=10,
    data__sequence_length=16, tokenizer__kind="word", model__preset="base",
)  # fmt: skip
RECURRENT = dict(SETTINGS, model__ffn=32, model__heads=1)


@pytest.fixture
def root(tmp_path):
    tiny_run.write_text(tmp_path / "text")
    return tmp_path


def test_an_lstm_learns_over_frozen_vectors(documents, root):
    rules = ((r"token/.*", False), (r".*", True))
    program = tiny_run.build(tiny_run.config("lstm", root, trainable=rules, **RECURRENT))
    assert "examples of 10 labels, " in program.run.data["train"].description
    before = program.new_state(lambda line: None)
    vectors = np.asarray(before.frozen["token"]["embedding"])
    state, history = tiny_run.run(program, 12, before)
    assert history[-1]["class"] < history[0]["class"]
    np.testing.assert_array_equal(state.frozen["token"]["embedding"], vectors)


def shipped(stem, root, **changes):
    """A tiny program as it is shipped, on the text in `root`, and smaller still."""
    config = importlib.import_module(f"cloze.configs.{stem}").get_config("tiny")
    config.data.update(source=f"text:{root}/text/*.txt", cache_dir=str(root / "cache"), sequence_length=16)
    config.model.update(width=32, ffn=32, vocab_size=512, vocab_multiple=8)
    config.tokenizer.vocab_size = 300
    config.train.update(batch_size=8, compile_cache="")
    for key, value in changes.items():
        section, field = key.split("__")
        config[section][field] = value
    return tiny_run.build(config)


def test_gpt_learns_labels_and_text_at_once_and_its_head_has_dropout(documents, root):
    losses = []
    for rate in (0.5, 0.0):
        program = shipped("gpt1_classifier", root, model__head_dropout=rate, model__heads=2)
        before = tiny_run.parameters(program, program.new_state(lambda line: None))
        state, (metrics,) = tiny_run.run(program, 1)
        losses.append((metrics["class"], metrics["lm"]))
        assert metrics["loss"] == pytest.approx(metrics["class"] + 0.5 * metrics["lm"], rel=1e-5)
        after = tiny_run.parameters(program, state)
        assert all((before[name] != value).any() for name, value in after.items() if "key/bias" not in name)
    assert losses[0][0] != losses[1][0] and losses[0][1] == losses[1][1]


def test_a_classifier_reads_elmo_and_leaves_it_as_it_is(documents, root):
    program = shipped("elmo_classifier", root)
    before = tiny_run.parameters(program, program.new_state(lambda line: None))
    state, (metrics,) = tiny_run.run(program, 1)
    after = tiny_run.parameters(program, state)
    same = {name for name, value in after.items() if (before[name] == value).all()}
    assert metrics["class"] > 0 and same == {name for name in after if name.startswith("elmo/")} and same


@pytest.mark.parametrize("changes, message", [
    (dict(model__num_labels=2), "package has 10 labels, model.num_labels=2: leave model.num_labels unset"),
    (dict(task__name=""), "set task.name to a task, such as package"),
    (dict(objective__name="causal_lm"), "reads text, not labelled examples"),
])  # fmt: skip
def test_what_does_not_fit_the_task_is_refused(documents, root, changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny_run.build(tiny_run.config("lstm", root, **(RECURRENT | changes)))
