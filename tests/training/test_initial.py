"""Parameters from other runs: a student from its teacher's layers, a model from a composite's main part."""

import ast
import json
import pathlib
import re
import shutil

import jax
import numpy as np
import pytest

from cloze.configs import base
from cloze.errors import ConfigError
from cloze.models import names
from cloze.training import initial, restore
from cloze.training.checkpoint import Checkpoints
from tests.training import tiny_run

LAYERS = 4
ELECTRA = dict(objective__name="replaced_tokens", objective__discriminator_weight=5.0)


def save(program, state, workdir):
    """A run's directory with what later runs read of it."""
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps(base.to_dict(program.run.config)))
    program.run.tokenizer.save(workdir / "tokenizer")
    checkpoints = Checkpoints(workdir / "checkpoints")
    meta = {"tokenizer": program.run.tokenizer.hash, "data": None}
    checkpoints.save(3, program.full_parameters(state), None, meta)
    checkpoints.close()
    return str(workdir)


def parameters(program, state):
    """{name: array}, stacked parameters layer by layer."""
    found = {}
    for name, array in tiny_run.parameters(program, state).items():
        if names.is_stacked(name):
            found |= dict(zip(names.layer_names(name, len(array)), array, strict=True))
        else:
            found[name] = array
    return found


@pytest.fixture(scope="module")
def teacher(root):
    """(workdir, {name: array}) of a BERT of four layers."""
    changes = dict(objective__pairs="none", model__layers=LAYERS)
    program = tiny_run.build(tiny_run.config("bert", root, **changes))
    state = program.new_state()
    return save(program, state, root / "teacher"), parameters(program, state)


@pytest.fixture(scope="module")
def electra(root):
    """(workdir, {name: array}) of a generator with a discriminator."""
    program = tiny_run.build(tiny_run.config("bert", root, **ELECTRA))
    state = program.new_state()
    return save(program, state, root / "electra"), parameters(program, state)


def student(root, teacher, **changes):
    distil = dict(
        objective__name="distillation", objective__teacher=teacher, seed=1,
        tokenizer__path=f"{teacher}/tokenizer", model__token_types=0,
    )  # fmt: skip
    return tiny_run.build(tiny_run.config("bert", root, **distil | changes))


def test_a_student_begins_as_every_third_layer_and_trains_beside_a_teacher_that_does_not(root, teacher):
    program = student(root, teacher[0])
    told = []
    state = program.new_state(told.append)
    start = parameters(program, state)
    for name, array in teacher[1].items():
        np.testing.assert_array_equal(start[f"teacher/{name}"], array)
    for name, array in start.items():
        if name.startswith("student/"):
            theirs = re.sub("/layers/1/", f"/layers/{LAYERS - 1}/", name.removeprefix("student/"))
            np.testing.assert_array_equal(array, teacher[1][theirs])
    everything = len(program.run.shapes)
    assert told == [f"From {teacher[0]}, step 3: {everything} of {everything} parameters"]  # nothing is new or left

    state, history = tiny_run.run(program, 2, state)
    end = parameters(program, state)
    for name, array in start.items():
        # A softmax ignores the bias of the keys, whose gradient is rounding; the first steps have no rate.
        if name.startswith("teacher/") or not name.endswith("key/bias"):
            assert np.array_equal(array, end[name]) == name.startswith("teacher/"), name
    assert not any("teacher" in name for name in names.flatten(state.trainable))
    assert {"soft", "mlm", "cosine", "mlm_accuracy"} <= set(history[0])


def test_chosen_layers(root, teacher):
    program = student(root, teacher[0], objective__teacher_layers=(2, 0))
    start = parameters(program, program.new_state(lambda line: None))
    for ours, theirs in ((0, 2), (1, 0)):
        name = "encoder/layers/{}/ffn/up/kernel"
        np.testing.assert_array_equal(start["student/" + name.format(ours)], teacher[1][name.format(theirs)])


def test_a_student_of_another_size_begins_anew(root, teacher):
    changes = dict(model__width=16, objective__cosine_weight=0.0)
    told = []
    program = student(root, teacher[0], **changes)
    start = parameters(program, program.new_state(told.append))
    np.testing.assert_array_equal(start["teacher/token/embedding"], teacher[1]["token/embedding"])
    assert "not taken from it: student/encoder/" in "\n".join(told)


def test_a_run_with_another_tokenizer_is_refused(root, teacher):
    with pytest.raises(ConfigError, match=r"another tokenizer .*tokenizer.path=.*teacher/tokenizer"):
        student(root, teacher[0], tokenizer__path="", tokenizer__lowercase=False)


def test_a_run_of_another_size_is_refused(root, teacher):
    config = tiny_run.config("bert", root, init__checkpoint=teacher[0], model__width=16)
    with pytest.raises(ConfigError, match="has .*this model needs .* choose a model of the same size"):
        tiny_run.build(config)


def test_the_way_out_of_a_shape_that_differs_works(root, teacher):
    changes = dict(init__checkpoint=teacher[0], model__ffn=16)
    rules = ()
    for _ in range(9):
        config = tiny_run.config("bert", root, **changes)
        config.init.rules = (*rules, *config.init.rules)
        try:
            tiny_run.build(config)
        except ConfigError as error:
            rules = (*rules, ast.literal_eval(re.search(r"begin init.rules with (\(.*?\)) to", str(error)).group(1)))
        else:
            break
    assert {pattern for pattern, _ in rules} == {
        f"encoder/layers/.*/ffn/{name}" for name in ("up/bias", "up/kernel", "down/kernel")
    }


def test_no_run_and_nothing_that_fits_are_refused(root, teacher):
    with pytest.raises(ConfigError, match="/no/run holds no run"):
        tiny_run.build(tiny_run.config("bert", root, init__checkpoint="/no/run"))
    rules = ((r"(.*)", r"other/\1"),)
    with pytest.raises(ConfigError, match="nothing of .* fits this model"):
        tiny_run.build(tiny_run.config("bert", root, init__checkpoint=teacher[0], init__rules=rules))
    with pytest.raises(ConfigError, match="init.rules.*matches no parameter"):
        rules = ((r"encodr/(.*)", None), (r"(.*)", r"\1"))
        tiny_run.build(tiny_run.config("bert", root, init__checkpoint=teacher[0], init__rules=rules))


def test_what_is_new_and_what_is_left_is_told(root, teacher):
    rules = ((r"encoder/layers/0/(.*)", r"encoder/layers/3/\1"), (r"encoder/.*", None), (r"(.*)", r"\1"))
    program = tiny_run.build(tiny_run.config("bert", root, init__checkpoint=teacher[0], init__rules=rules, seed=1))
    told = []
    state = program.new_state(told.append)
    text = "\n".join(told)
    assert f"From {teacher[0]}, step 3" in text
    partly, new = (re.search(f"  {what}: (.*)", text).group(1) for what in ("only some layers of", "not taken from it"))
    assert set(partly.split(", ")) == {name for name in program.run.shapes if names.is_stacked(name)}
    assert {name.split("/")[0] for name in new.split(", ")} == {"nsp_head", "pooler"}
    start, fresh = parameters(program, state), parameters(program, program.new_state(donors=[]))
    for name, array in start.items():
        if "/layers/1/" in name or name.startswith(("nsp_head", "pooler")):
            np.testing.assert_array_equal(array, fresh[name])
        else:
            np.testing.assert_array_equal(array, teacher[1][name.replace("/layers/0/", "/layers/3/")])


def test_of_a_composite_the_main_part_is_named_without_its_prefix(root, electra):
    plain = dict(objective__pairs="none", init__checkpoint=electra[0], seed=1)
    program = tiny_run.build(tiny_run.config("bert", root, **plain))
    told = []
    start = parameters(program, program.new_state(told.append))
    for name, array in start.items():
        if not name.startswith("mlm_head/"):
            np.testing.assert_array_equal(array, electra[1][f"discriminator/{name}"])
    text = "\n".join(told)
    assert "not taken from it: mlm_head/bias" in text
    left = re.search("  left there: (.*)", text).group(1).split(", ")
    assert {name.split("/")[0] for name in left} == {"generator", "rtd_head"}


def test_other_parts_have_their_prefix(root, electra):
    rules = (
        (r"mlm_head/(bias|norm/.*)", r"generator/mlm_head/\1"),
        (r"encoder_embeddings/.*", r"\g<0>"),
        (r".*", None),
    )
    config = tiny_run.config("bert", root, objective__pairs="none", init__checkpoint=electra[0], init__rules=rules)
    program = tiny_run.build(config)
    start = parameters(program, program.new_state(lambda line: None))
    np.testing.assert_array_equal(start["mlm_head/norm/scale"], electra[1]["generator/mlm_head/norm/scale"])
    name = "encoder_embeddings/norm/scale"
    np.testing.assert_array_equal(start[name], electra[1][f"discriminator/{name}"])


def test_a_composite_goes_on_from_a_composite(root, electra):
    program = tiny_run.build(tiny_run.config("bert", root, **ELECTRA, init__checkpoint=electra[0], seed=1))
    told = []
    start = parameters(program, program.new_state(told.append))
    for name, array in start.items():
        np.testing.assert_array_equal(array, electra[1][name])
    assert len(told) == 1  # nothing is new, and nothing is left


def test_a_composite_is_loaded_by_the_part_that_has_the_head(electra):
    workdir, params = electra
    main = restore.load(workdir, report=lambda line: None)
    assert main.model.config.heads_out == ("rtd",) and main.step == 3
    filler = restore.load(workdir, report=lambda line: None, fills=True)
    assert filler.model.config.heads_out == ("mlm",) and filler.model.config.width == 8
    shared = np.asarray(filler.params["token"]["embedding"])
    np.testing.assert_array_equal(shared, params["discriminator/token/embedding"])
    batch = {"tokens": np.ones((1, 4), np.int32)}
    assert jax.jit(filler.model.apply)({"params": filler.params}, batch).logits.shape == (1, 4, 256)


def test_rows_that_are_compared_are_not_cut_into_microbatches(root):
    changes = dict(objective__name="corrective_lm", train__microbatches=2)
    with pytest.raises(ConfigError, match="compares the rows.*set train.microbatches=1"):
        tiny_run.build(tiny_run.config("bert", root, **changes))


def test_donors_come_in_order_and_the_users_wins(root, teacher):
    config = tiny_run.config("bert", root, init__checkpoint=teacher[0])

    class Wants:
        def initial(self):
            return [(teacher[0], ((r"(.*)", r"\1"),))]

    tokenizer = tiny_run.build(config).run.tokenizer
    assert [str(donor.workdir) for donor in initial.donors(config, Wants(), tokenizer)] == [teacher[0]] * 2


def test_a_donor_of_some_layers_leaves_what_an_earlier_one_brought(root, teacher):
    program = tiny_run.build(tiny_run.config("bert", root, init__checkpoint=teacher[0], seed=1))
    rules = ((r"encoder/layers/1/(.*)", r"encoder/layers/3/\1"), (r".*", None))
    donors = [*program.run.donors, initial.open_donor(teacher[0], rules, program.run.tokenizer)]
    start = parameters(program, program.new_state(lambda line: None, donors))
    for name, array in start.items():
        if not name.startswith(("nsp_head", "pooler")):
            np.testing.assert_array_equal(array, teacher[1][name.replace("/layers/1/", "/layers/3/")])


def test_a_donor_is_cut_over_the_mesh_of_the_run(root, electra, monkeypatch):
    """Also where a part that is not taken does not divide: the generator's width is 8, its one head is not cut."""
    changes = dict(objective__pairs="none", init__checkpoint=electra[0], mesh__data=1, mesh__fsdp=2, mesh__tensor=2)
    program = tiny_run.build(tiny_run.config("bert", root, **changes), devices=4)
    read, tree = initial.load_parameters, {}

    def spy(*arguments, **named):
        params, step = read(*arguments, **named)
        tree.update(names.flatten(params))
        return params, step

    monkeypatch.setattr(initial, "load_parameters", spy)
    start = parameters(program, program.new_state(lambda line: None))
    np.testing.assert_array_equal(start["token/embedding"], electra[1]["discriminator/token/embedding"])
    name = "encoder/layers/ffn/up/kernel"
    whole = tree[f"discriminator/{name}"]
    assert whole.addressable_shards[0].data.size == whole.size // 4
    assert whole.sharding.spec == program.abstract_parameters["encoder"]["layers"]["ffn"]["up"]["kernel"].sharding.spec


def test_a_run_goes_on_without_what_it_began_from(root, teacher, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(teacher[0], moved)
    config = tiny_run.config("bert", root, init__checkpoint=str(moved), tokenizer__path=f"{moved}/tokenizer")
    program = tiny_run.build(config)
    state = program.new_state(lambda line: None)
    workdir = save(program, state, tmp_path / "run")
    shutil.rmtree(moved)
    again = tiny_run.build(config, tokenizer=pathlib.Path(workdir) / "tokenizer")
    checkpoints = Checkpoints(pathlib.Path(workdir) / "checkpoints")
    resumed = parameters(again, again.restore(checkpoints, 3))
    checkpoints.close()
    for name, array in parameters(program, state).items():
        np.testing.assert_array_equal(resumed[name], array)
    with pytest.raises(ConfigError, match="moved holds no run"):
        again.new_state(lambda line: None)
    config.tokenizer.path = ""
    with pytest.raises(ConfigError, match="moved holds no run"):
        tiny_run.build(config)  # a new run says so before anything is compiled


def test_a_trained_run_is_what_its_objective_trains_whatever_heads_its_configuration_names(root, tmp_path):
    """A converted configuration names heads; under another objective, its run is still a composite."""
    config = tiny_run.config("bert", root, **ELECTRA, model__heads_out=("mlm",))
    program = tiny_run.build(config)
    workdir = save(program, program.new_state(), tmp_path / "run")
    main = restore.load(workdir, report=lambda line: None)
    assert set(main.model.config.heads_out) == {"rtd", "mlm"} and main.model.config.width == 32
    # What fills blanks is the generator, though the main part has a head for it.
    assert restore.load(workdir, report=lambda line: None, fills=True).model.config.width == 8


def test_half_of_twelve_layers_begin_as_published(root, tmp_path):
    teacher = tiny_run.config("bert", root, objective__pairs="none", model__layers=12)
    workdir = tmp_path / "teacher"
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps(base.to_dict(teacher)))
    tiny_run.build(teacher).run.tokenizer.save(workdir / "tokenizer")
    program = student(root, str(workdir), model__layers=6)
    (donor,) = program.run.donors
    taken = donor.plan(program.run.shapes, program.run.axis_names)["student/encoder/layers/ffn/up/kernel"]
    assert [layer for _, _, layer in taken] == [0, 2, 4, 7, 9, 11]
    assert {name for _, name, _ in taken} == {"encoder/layers/ffn/up/kernel"}
