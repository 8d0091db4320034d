"""Runs of a sweep file: their names, what is refused, and the flags that train.py gets."""

import pathlib
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloze import cli
from cloze.errors import ConfigError
from cloze.sweeps import planned, product, zip_

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


PRETRAINED = product(config=TINY, seed=[0, 1])


def finetuned(bases):
    runs = product(zip_({"seed": [0, 1], "init.checkpoint": bases}), {"task.limit": [10, 20]})
    return [run | {"config": "configs/finetune/classify.py:tiny,task=summary_match"} for run in runs]


def test_a_value_that_is_a_run_stands_for_its_directory(tmp_path):
    runs = planned.named(finetuned(PRETRAINED))
    assert [run.name for run in runs] == [
        "seed=0-limit=10", "seed=0-limit=20", "seed=1-limit=10", "seed=1-limit=20",
    ]  # fmt: skip
    ordered = planned.with_bases(runs)
    assert [run.is_base for run in ordered] == [True, False, False, True, False, False]
    base, run = ordered[:2]
    assert base.path(tmp_path / "sweep") == tmp_path / "bases" / base.name and base.name.startswith("bert-tiny-seed=0-")
    assert f"--config.init.checkpoint={tmp_path / 'bases' / base.name}" in run.flags(tmp_path / "sweep")
    assert run.path(tmp_path / "sweep") == tmp_path / "sweep" / run.name
    assert planned.named(finetuned(product(config=TINY, seed=[0, 5])))[0].bases == [base]  # of another sweep


def test_bases_are_told_apart_by_what_differs_but_for_seeds():
    wide = product(config=TINY, seed=[0, 1], **{"model.ffn": 1024})
    runs = planned.named(finetuned(PRETRAINED) + finetuned(wide))
    assert len({run.name for run in runs}) == len(planned.with_bases(runs)) - 4 == 8
    assert {run.values["init.checkpoint"] for run in runs} == {"bert-tiny", "ffn=1024"}
    again = finetuned(PRETRAINED)
    again[1] |= {"init.checkpoint": again[0]}  # a run that begins with one that begins with another
    (*_, last) = planned.named(again)[1].bases
    assert len(last.bases) == 1 and last.is_base


def test_runs_are_checked_before_what_they_begin_with_is_trained(tmp_path):
    runs = planned.named(finetuned(PRETRAINED))
    found = planned.checked(runs, tmp_path / "sweep")
    base = runs[0].bases[0]
    assert set(found) == {run.name for run in planned.with_bases(runs)} and not any(tmp_path.iterdir())
    config, path = found[runs[0].name], str(base.path(tmp_path / "sweep"))
    assert (config["model"]["width"], config["init"]["checkpoint"]) == (found[base.name]["model"]["width"], path)
    assert config["tokenizer"]["path"] == f"{path}/tokenizer"
    bad = planned.named(finetuned(product(config=TINY, seed=[0, 1], **{"model.heads": 5})))
    with pytest.raises(ConfigError, match="run bert-tiny-seed=0-.*: model.width=192 does not divide"):
        planned.checked(bad, tmp_path / "sweep")


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
    runs = planned.named(product(finetuned(PRETRAINED), trainable=((".*", True),)))
    planned.keep(runs, tmp_path, "my.py")
    assert planned.kept(tmp_path) == (runs, "my.py")
    (tmp_path / planned.FILE).write_text((tmp_path / planned.FILE).read_text().replace("my.py", "xx.py"))
    with pytest.raises(ConfigError, match="is damaged .its checksum"):
        planned.kept(tmp_path)
    with pytest.raises(ConfigError, match="holds no sweep"):
        planned.kept(tmp_path / "elsewhere")
