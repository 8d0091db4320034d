"""Runs of a sweep file: their names, what is refused, and the flags that train.py gets."""

import pathlib
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloze import cli
from cloze.errors import ConfigError
from cloze.sweeps import planned, product

TINY = "configs/bert.py:tiny"
VALUES = st.one_of(
    st.integers(), st.floats(allow_nan=False), st.text("ab/=,.- é*", max_size=150), st.tuples(st.integers())
)
RUNS = st.lists(
    st.dictionaries(st.sampled_from(["a.x", "b.x", "c.y", "seed"]), VALUES, max_size=4), min_size=1, max_size=6,
    unique_by=lambda run: tuple(sorted((key, planned.as_text(value)) for key, value in run.items())),
)  # fmt: skip


def names(*runs):
    return [run.name for run in planned.named(list(runs))]


def test_names_are_made_of_what_differs():
    assert names(*product(config=TINY, **{"objective.mask_rate": [0.15, 0.4]}, seed=[0, 1])) == [
        "mask_rate=0.15-seed=0", "mask_rate=0.15-seed=1", "mask_rate=0.4-seed=0", "mask_rate=0.4-seed=1",
    ]  # fmt: skip
    assert names({"config": TINY}) == ["bert-tiny"]
    assert names(*product(config=["configs/bert.py:tiny,size=large", "my/demo.py"])) == ["bert-tiny-size=large", "demo"]
    assert names(*product(config=TINY, **{"a.every": [1, 2], "b.every": [3, 4]}))[0] == "a.every=1-b.every=3"
    assert names(*product(config=TINY, **{"data.source": ["text:a/*.txt", "text:b/*.txt"]}))[0] == "source=text-a-.txt"


@given(RUNS, st.integers())
def test_names_are_legal_different_and_the_same_in_any_order(runs, seed):
    runs = [{"config": TINY, **run} for run in runs]
    found = names(*runs)
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"[\w=+-][\w=.+-]{0,119}", name, re.ASCII) for name in found)
    draw, shuffled = random.Random(seed), []
    for run in runs:
        items = list(run.items())
        draw.shuffle(items)
        shuffled.append(dict(items))
    assert names(*shuffled) == found


def sweep_file(tmp_path, text):
    (tmp_path / "my.py").write_text(text)
    return str(tmp_path / "my.py")


RETURN = "from cloze.sweeps import *\ndef sweep():\n    return "


@pytest.mark.parametrize(
    "text, words",
    [
        ("def swep(): pass", "defines no function sweep()"),
        (RETURN + "[]", "has no runs"),
        (RETURN + "None", "must return a list of runs"),
        (RETURN + "product(seed=[0, 1])", 'run 1 has no "config"'),
        (RETURN + "product(config='x', seed=[1, '1'])", "runs 1 and 2 have the same options (config=x, seed=1)"),
        (RETURN + "product(config=[])", "config has an empty list"),
        (RETURN + "prodct()", "my.py cannot be read: NameError: name 'prodct'"),
        ("def sweep(:", "my.py cannot be read: SyntaxError"),
    ],
)
def test_files_that_are_no_sweeps_are_refused(text, words, tmp_path):
    with pytest.raises(ConfigError, match=re.escape(words)):
        planned.load(sweep_file(tmp_path, text))


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="no sweep file configs/sweeps/mask_rates.py; did you mean 'configs/sweeps/m"):
        planned.load("configs/sweeps/mask_rates.py")


@pytest.mark.parametrize(
    "override, words",
    [
        ({"train.stesp": 3}, "run bert-tiny: .*stesp.*steps"),
        ({"objective.mask_rat": 0.1}, "run bert-tiny: .*mask_rat"),
        ({"objective.mask_rate": 1.5}, "run bert-tiny: objective.mask_rate=1.5 must be"),
        ({"train.batch_size": "many"}, "run bert-tiny: .*batch_size"),
        ({"model.heads": 5}, "run bert-tiny: model.width=192 does not divide"),
    ],
)
def test_options_are_refused_as_train_refuses_them(override, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        planned.checked(planned.named([{"config": TINY, **override}]), tmp_path)


def test_a_config_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="run brt: there is no config file configs/brt.py; did you mean"):
        planned.checked(planned.named([{"config": "configs/brt.py"}]), tmp_path)


def test_values_arrive_in_the_configuration_as_they_are():
    given_values = {
        "objective.mask_rate": 0.4, "optimizer.name": "lion", "optimizer.beta2": 0.98, "train.steps": "2 epochs",
        "model.layers": 2, "model.scan": True, "trainable": ((".*bias", False), (".*", True)),
        "data.source": "text:a b/*.txt",
    }  # fmt: skip
    (run,) = planned.named([{"config": TINY, **given_values}])
    config = cli.read_config(run.flags(pathlib.Path()))
    for key, value in given_values.items():
        found = config
        for word in key.split("."):
            found = found[word]
        assert found == value and type(found) is type(value), key


def test_the_runs_of_a_directory_are_kept(tmp_path):
    runs = planned.named(product(config=TINY, seed=[0, 1], trainable=((".*", True),)))
    planned.keep(runs, tmp_path, "my.py")
    assert planned.kept(tmp_path) == (runs, "my.py")
    (tmp_path / planned.FILE).write_text((tmp_path / planned.FILE).read_text().replace("my.py", "xx.py"))
    with pytest.raises(ConfigError, match="is damaged .its checksum"):
        planned.kept(tmp_path)
    with pytest.raises(ConfigError, match="holds no sweep"):
        planned.kept(tmp_path / "elsewhere")
