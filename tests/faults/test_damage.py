"""A bit that has changed, or a file cut short, anywhere in a run's directory or in the cache of the data.

What a start reads is then the same, or that of an older checkpoint, or it ends with a message that names the place.
"""

import json
import pathlib
import random
import shutil

import jax
import numpy as np
import pytest

from cloze import train
from cloze.configs import base
from cloze.data import tokenizers
from cloze.errors import UserError
from cloze.training import goodput, resolve, runs
from cloze.training.checkpoint import Checkpoints
from cloze.training.metrics import MetricWriter
from cloze.training.retention import Retention
from cloze.training.run import build
from cloze.training.workdir import Workdir
from tests.faults import commands

NOT_READ = ("log.txt", "lock", "tensorboard")  # of a run's directory; `lock` also ends names in the cache


def opened(config, workdir, report):
    """(step, everything that training and other verbs take from the files at a start), as comparable values."""
    directory = Workdir(workdir, base.to_dict(config))
    directory.open()
    try:
        run = build(config, directory.tokenizer, jax.devices()[:1], report)
        directory.keep_config()
        checkpoints = Checkpoints(directory.checkpoints, Retention(config.checkpoint.keep))
        start = train.find_start(checkpoints, report)
        train.check_seal(run, checkpoints.read_seal(start), report)
        MetricWriter(workdir, start, report).close()
    finally:
        directory.close()
    rows = [run.data[split].batches(step) for split in ("train", "validation") for step in (0, start)]
    found = {"tokenizer": run.tokenizer.hash, "data": run.data["train"].fingerprint, **commands.arrays(workdir, start)}
    found["counts"], found["rows"] = run.data["train"].counts, [row[name] for row in rows for name in sorted(row)]
    return start, found


def read_by_other_verbs(workdir):
    """What eval.py and the like read besides: the configuration, and the tokenizer."""
    config = base.to_dict(runs.load_config(workdir))
    return config["model"], config["objective"], tokenizers.load(workdir / "tokenizer").hash


def check_same(found, expected):
    for name, value in expected.items():
        if isinstance(value, list):
            for a, b in zip(found[name], value, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], value, err_msg=name)


def files(whole):
    """All files that a start depends on."""
    in_run = [path for path in whole.workdir.rglob("*") if path.is_file() and not path.match("tensorboard/*")]
    in_cache = [path for path in (whole.root / "cache").rglob("*") if path.is_file()]
    return sorted(path for path in in_run + in_cache if not path.name.endswith(NOT_READ))


@pytest.fixture(scope="module")
def expected(whole):
    """(configuration, {step: what a start from it reads}, what other verbs read)."""
    config = resolve.resolve(runs.load_config(whole.workdir))
    assert [config.train.steps, config.checkpoint.keep] == [commands.STEPS, 2]
    copy, starts = whole.root / "expected", {}
    for step in (commands.STEPS, commands.STEPS - 1):
        shutil.copytree(whole.workdir, copy)
        if step < commands.STEPS:
            shutil.rmtree(copy / "checkpoints" / str(commands.STEPS))
        start, starts[step] = opened(config, copy, lambda line: None)
        assert start == step
        shutil.rmtree(copy)
    return config, starts, read_by_other_verbs(whole.workdir)


def flip(content, draw):
    """One bit is another."""
    content = bytearray(content)
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def cut(content, draw):
    """The end is missing."""
    return content[: draw.randrange(len(content))]


def first(names, found):
    """The files with these names first, each once."""
    chosen = [next(path for path in found if path.name == name) for name in names]
    return chosen + [path for path in found if path not in chosen]


@pytest.mark.parametrize("damage, seed", [(flip, 0), (cut, 1)])
def test_a_start_reads_what_was_written_or_names_the_place(damage, seed, length, whole, expected, tmp_path):
    draw, found = random.Random(seed), files(whole)
    found = [path for path in found if path.stat().st_size]
    draw.shuffle(found)
    found = first(("seal.json", "config.json", "manifest.json", "tokenizer_meta.json", "metrics.jsonl"), found)
    number = length.flips if damage is flip else length.cuts
    for k in range(number):
        path = found[k % len(found)]
        workdir, whole_content = tmp_path / str(k), path.read_bytes()
        shutil.copytree(whole.workdir, workdir)
        in_run = path.is_relative_to(whole.workdir)
        target = workdir / path.relative_to(whole.workdir) if in_run else path
        target.write_bytes(damage(whole_content, draw))
        try:
            check_start(target, workdir, expected)
        finally:
            path.write_bytes(whole_content)
            shutil.rmtree(workdir)


def check_start(target, workdir, expected):
    """The property of this file, for one damaged file."""
    config, starts, others = expected
    before, messages = (workdir / "metrics.jsonl").read_bytes().splitlines(), []
    try:
        assert read_by_other_verbs(workdir) == others, target
    except UserError as error:
        check_named(error, target)
    try:
        start, found = opened(config, workdir, messages.append)
    except UserError as error:
        check_named(error, target)
        return
    check_same(found, starts[start])
    assert start == commands.STEPS or any(f"of step {commands.STEPS}" in line for line in messages), target
    after = (workdir / "metrics.jsonl").read_bytes().splitlines()
    readable = [line for line in before if is_metric(line, start)]
    assert [line for line in after if goodput.parse(line) is None] == readable, target
    told = [line for line in before if goodput.parse(line) is None]
    assert told == readable or start < commands.STEPS or "metrics.jsonl" in "".join(messages), target


def is_metric(line, start):
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return False
    return type(step) is int and step <= start and goodput.parse(line) is None


def check_named(error, target):
    """An error names the damaged file, or the folder that holds it."""
    assert any(str(place) in str(error) for place in (target, *pathlib.Path(target).parents[:3])), (target, error)
