"""A run on a mixture of sources: the loss of each beside that of the whole, and weights that change by step."""

import json

import numpy as np
import pytest

from cloze.errors import ConfigError
from cloze.training import validation
from cloze.training.run import retention_of
from cloze.training.validation import Validator
from tests import verbs
from tests.training import tiny_run


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two sources, of which the second has a few words only."""
    path = tmp_path_factory.mktemp("mixture")
    tiny_run.write_text(path / "text")
    (path / "other").mkdir()
    for number in range(40):
        (path / "other" / f"{number}.txt").write_text(f"Returns the name. Returns the list {number}. " * 20)
    return path


@pytest.fixture(scope="module")
def mixed(root):
    return tiny_run.build(config(root, f"text:{root}/text/*.txt=0.75,text:{root}/other/*.txt=0.25"))


def config(root, source, **changes):
    changes = {"data__source": source, "objective__pairs": "none", "train__eval_batches": 3} | changes
    return tiny_run.config("bert", root, **changes)


def test_the_loss_of_each_source_is_what_it_is_alone(root, mixed):
    state = mixed.new_state()
    values = tiny_run.validate(mixed, state)
    names = [f"text:{root}/text/*.txt", f"text:{root}/other/*.txt"]
    assert [name for name in values if name.startswith("loss/")] == [f"loss/{name}" for name in names]
    assert set(values) == set(Validator(mixed.run).loss_terms(mixed))
    for name in names:  # a run on this source alone, with the same parameters and half of the batches
        alone = tiny_run.build(config(root, name, train__eval_batches=2), tokenizer=kept(root, mixed))
        assert alone.run.data["validation"].apart == {}
        expected = tiny_run.validate(alone, state)
        assert not [one for one in expected if one.startswith("loss/")]
        assert values[f"loss/{name}"] == pytest.approx(expected["loss"], rel=1e-6)
    assert values[f"loss/{names[0]}"] != values[f"loss/{names[1]}"]


def kept(root, program):
    directory = root / "tokenizer"
    if not directory.exists():
        program.run.tokenizer.save(directory)
    return directory


def test_the_best_checkpoint_may_be_of_one_source(root):
    source = f"text:{root}/text/*.txt,text:{root}/other/*.txt"
    for name, known in (("other", True), ("nowhere", False)):
        best = {"checkpoint__best": f"validation/loss/text:{root}/{name}/*.txt", "train__eval_every": 50}
        run = tiny_run.build(config(root, source, **best)).run
        if known:
            assert retention_of(run).best is not None
        else:
            with pytest.raises(ConfigError, match=f"did you mean 'validation/loss/text:{root}"):
                retention_of(run)


def test_the_line_for_the_console_is_short():
    values = {"loss": 3.0, "accuracy": 0.5, "loss/tfds:c4/en": 2.0, f"loss/text:/{'folder/' * 9}*.txt": 4.0}
    expected = "loss 3.0000  accuracy 0.5000  (tfds:c4/en 2.0000, ...r/folder/folder/*.txt 4.0000)"
    assert validation.line(values) == expected
    assert validation.line({"loss": 3.0}) == "loss 3.0000"


def test_weights_that_change_decide_the_rows_of_a_step_and_both_losses_are_written(root):
    """Rows are of the second source alone from step 3 on, and those before as without a change."""
    source = f"text:{root}/text/*.txt=0.75,text:{root}/other/*.txt=0.25"
    program = tiny_run.build(config(root, source, data__mixture_schedule=((3, (0, 1)),)))
    train, count = program.run.data["train"], program.run.data["train"].sources[1].num_rows
    steps = [train.batches(step) for step in range(6)]
    numbers = [np.unique(train.reader.order(step, np.arange(16))[0]).tolist() for step in range(6)]
    assert numbers == [[0, 1]] * 3 + [[1]] * 3
    assert all(step["row_id"].max() < count for step in steps[3:])
    plain = tiny_run.build(config(root, source)).run.data["train"]
    assert plain.fingerprint != train.fingerprint
    np.testing.assert_array_equal(plain.batches(2)["tokens"], steps[2]["tokens"])

    arguments = [*verbs.small(root), f"--config.data.source={source}", "--config.objective.pairs=none"]
    arguments += ["--config.data.mixture_schedule=((3,(0,1)),)", f"--workdir={root}/run"]
    done = verbs.run("train", *arguments)
    assert done.returncode == 0 and "other weights from step 3 on" in done.stdout, done.stderr
    lines = [json.loads(line) for line in (root / "run" / "metrics.jsonl").read_text().splitlines()]
    scored = [line for line in lines if line["split"] == "validation"]
    assert [line["step"] for line in scored] == [4]
    assert all(f"loss/text:{root}/{name}/*.txt" in line for line in scored for name in ("text", "other"))
    assert "/other/*.txt " in next(line for line in done.stdout.splitlines() if "  validation  " in line)
