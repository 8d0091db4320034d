"""A classifier learns a task through the training step, and one that does not fit it is refused."""

import numpy as np
import pytest

from errors import ConfigError
from tests.training import tiny_run

SETTINGS = dict(
    objective__name="classification", objective__pairs="none", task__name="package", model__num_labels=10,
    data__sequence_length=16, tokenizer__kind="word", model__preset="base",
)  # fmt: skip
RECURRENT = dict(SETTINGS, model__ffn=32, model__heads=1)


@pytest.fixture
def root(tmp_path):
    tiny_run.write_text(tmp_path / "text")
    return tmp_path


def test_an_lstm_learns_over_frozen_vectors(documents, root):
    rules = ((r"token/.*", False), (r".*", True))
    experiment = tiny_run.build(tiny_run.config("lstm", root, trainable=rules, **RECURRENT))
    assert "the most frequent of which is" in experiment.batches.description
    before = experiment.new_state(lambda line: None)
    vectors = np.asarray(before.frozen["token"]["embedding"])
    state, history = tiny_run.run(experiment, 12, before)
    assert history[-1]["class"] < history[0]["class"]
    np.testing.assert_array_equal(state.frozen["token"]["embedding"], vectors)


@pytest.mark.parametrize("changes, message", [
    (dict(model__num_labels=2), "the task has 10 labels, model.num_labels=2: set model.num_labels=10"),
    (dict(task__name=""), "set task.name to one of package"),
    (dict(objective__name="causal_lm"), "reads text, not labelled examples"),
])  # fmt: skip
def test_what_does_not_fit_the_task_is_refused(documents, root, changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny_run.build(tiny_run.config("lstm", root, **(RECURRENT | changes)))
