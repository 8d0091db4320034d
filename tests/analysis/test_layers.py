"""Probes find what is in the states of a layer, and nothing where there is nothing."""

import numpy as np
import pytest

from cloze.analysis import ANALYSES, layers, pictures
from cloze.errors import ConfigError
from cloze.objectives import frames
from cloze.training import evaluation
from tests.training import tiny_task

RNG = np.random.default_rng(0)


def quiet(line):
    pass


def test_the_probe_of_a_layer_is_as_good_as_its_states():
    """Layer 0 is noise, layer 1 has the class along one direction, layer 2 has it hidden under much noise."""
    labels, held = RNG.integers(0, 2, 300), RNG.integers(0, 2, 200)

    def states(labels):
        noise = RNG.normal(size=(3, len(labels), 6)).astype(np.float32)
        noise[1, :, 2] += 8 * labels
        noise[2, :, 3] += 1.5 * labels
        return noise

    accuracy, penalties = layers.probed(states(labels), labels, states(held), held, 2)
    assert abs(accuracy[0] - 0.5) < 0.15 and accuracy[1] > 0.98 and accuracy[0] + 0.1 < accuracy[2] < accuracy[1]
    assert len(penalties) == 3


def test_states_are_means_over_a_text(encoder):
    examples = [{"text": text, "label": 0} for text in ("the list", "every mask sees a large file", "one")]
    config = evaluation.config_for(encoder.config, "jsonl:class", "/nowhere")
    config.task.kind, config.model.num_labels = "class", 2
    rows = frames.rows(config, encoder.tokenizer.tables, encoder.model.config)
    found = layers.pooled(encoder, examples, rows, ("a", "b"), batch_size=2)
    for number, example in enumerate(examples):
        ids = [encoder.tokenizer.tables.cls, *encoder.tokenizer.encode(example["text"]), encoder.tokenizer.tables.sep]
        states = encoder.model.apply({"params": encoder.params}, {"tokens": np.array([ids])}, collect=True)
        np.testing.assert_allclose(found[:, number], np.asarray(states.hidden_states)[:, 0].mean(1), atol=1e-4)


def test_a_task_of_classes_is_probed_for_and_no_other(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "check", lambda: None)
    made = ANALYSES["layers"](task="jsonl:class", files=str(tiny_task.write(tmp_path / "class")))
    numbers = made.run(encoder, quiet).numbers
    assert len(numbers["accuracy"]) == 3 and numbers["examples"] == tiny_task.COUNTS and numbers["majority"] == 0.5
    files = str(tiny_task.write(tmp_path / "tag", "tag"))
    with pytest.raises(ConfigError, match="task jsonl:tag is of kind tag: give a task of classes"):
        ANALYSES["layers"](task="jsonl:tag", files=files).run(encoder, quiet)
