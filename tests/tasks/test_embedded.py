"""The embedded task has ten labels, each text once, and an answer that is where the text is from."""

import collections

import pytest

import tasks
from errors import ConfigError


def test_labels_are_the_packages_with_the_most_texts(documents):
    assert tasks.get("package").labels() == tuple(f"package{i}" for i in range(11, 1, -1))


def test_texts_have_the_label_of_their_package_and_come_once(documents):
    task = tasks.get("package")
    package, labels, found = {d.text: d.package for d in documents}, task.labels(), list(task.examples())
    assert all(package[text] == labels[label] for text, label in found)
    assert len({text for text, _ in found}) == len(found)
    assert collections.Counter(label for _, label in found) == {i: 12 + 4 * (11 - i) for i in range(10)}


def test_unknown_tasks_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'package'"):
        tasks.get("packages")
    with pytest.raises(ConfigError, match="set task.name to one of package"):
        tasks.get("")
