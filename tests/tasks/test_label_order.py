"""Labels go by their names where a head has learned them in another order."""

import types

import numpy as np
import pytest

from cloze import tasks
from cloze.configs import base
from cloze.tasks import predict
from cloze.training.validation import Validator
from tests.tasks import prepared

CLASSES = [{"text": "x", "label": label} for label in ("no", "yes", "yes", "no", "no")]
TAGS = [{"words": ["x", "y"], "tags": ["O", "B-X"]}, {"words": ["z"], "tags": ["I-X"]}]


def read(folder, kind, lines, labels):
    prepared.write(folder, {"train.jsonl": lines, "validation.jsonl": lines})
    config = base.get_base()
    config.task.update(name=f"jsonl:{kind}", files=str(folder), labels=labels)
    (found,) = tasks.read_by(config, types.SimpleNamespace(kind="examples"))
    return found


@pytest.mark.parametrize(
    "kind, lines, key, labels",
    [("class", CLASSES, "label", ("yes", "no")), ("tag", TAGS, "tags", ("I-X", "O", "B-X"))],
)
def test_numbers_stand_for_the_same_names(tmp_path, kind, lines, key, labels):
    found, plain = read(tmp_path, kind, lines, labels), read(tmp_path, kind, lines, ())
    assert found.labels() == labels != plain.labels()
    for one, other in zip(found.examples("train"), plain.examples("train"), strict=True):
        mine, theirs = (np.array(task.labels())[example[key]] for task, example in ((found, one), (plain, other)))
        assert np.array_equal(mine, theirs) and one[key] != other[key]
    assert found.fingerprint() != plain.fingerprint() and found.task.fingerprint() == plain.fingerprint()
    assert not isinstance(read(tmp_path, kind, lines, plain.labels()), tasks.Ordered)


def test_places_are_found_by_name():
    assert tasks.places(("a", "b", "c"), ("c", "a", "b")) == [1, 2, 0]
    assert tasks.places(("a", "b"), ("B", "A")) == [1, 0]
    assert tasks.places(("a", "b"), ("a", "x")) is tasks.places(("a", "A"), ("A", "A")) is None


def test_metrics_of_validation_are_of_the_order_of_the_task(tmp_path, monkeypatch):
    """F1 is of the second class, which must be the task's."""
    task = read(tmp_path, "class", CLASSES, ("yes", "no"))
    monkeypatch.setattr(type(task.task), "metrics", ("f1",))
    monkeypatch.setattr(predict, "from_heads", lambda task, examples, features, answers, options: [
        int(np.argmax(scores)) for scores in np.concatenate(answers)
    ])  # fmt: skip
    answers = [np.eye(2)[[1, 0, 1, 1, 1]]]  # no, yes, no, no, no
    data = types.SimpleNamespace(steps_per_epoch=1, features=None)
    validator = Validator(types.SimpleNamespace(data={"validation": data}, config=types.SimpleNamespace(task=None)))
    validator.__dict__["labelled"] = task, list(task.examples("validation"))
    assert validator._task_metrics(answers)["f1"] == pytest.approx(2 / 3)
