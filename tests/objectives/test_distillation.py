"""DistilBERT: soft answers, hidden tokens and directions against plain numpy; what a teacher must be."""

import jax
import numpy as np
import pytest

from cloze.errors import ConfigError
from cloze.models import names
from cloze.objectives.distillation import spread
from tests.objectives import pairs, teachers

LENGTHS = [16, 16, 9, 4]
SHORT = dict(data__sequence_length=pairs.LENGTH)
BERT = dict(family="bert", preset="base", layers=1)


@pytest.fixture(scope="module")
def runs(build):
    """{soft_targets: (objective, composite, parameters, batch, outputs, {term: gradient})}."""
    found = {}
    for where in ("all", "hidden"):
        objective = build("distillation", **SHORT, objective__soft_targets=where, model=dict(layers=1))
        model, params = pairs.composite(objective, **BERT)
        batch = jax.jit(objective.corrupt)(jax.random.key(0), pairs.rows(LENGTHS))
        outputs = jax.jit(model.apply)({"params": params}, batch)
        found[where] = objective, model, params, pairs.to_numpy(batch), outputs
    return found


def test_layers_are_spread_as_published():
    assert spread(6, 12) == (0, 2, 4, 7, 9, 11)
    assert spread(2, 3) == (0, 2) and spread(3, 3) == (0, 1, 2) and spread(1, 3) == (0,)


def test_hides_as_masked_lm(build, runs):
    _, _, _, batch, _ = runs["all"]
    expected = jax.jit(build("masked_lm", **SHORT).corrupt)(jax.random.key(0), pairs.rows(LENGTHS))
    for name, array in expected.items():
        np.testing.assert_array_equal(batch["hidden_positions" if name == "prediction_positions" else name], array)


@pytest.mark.parametrize("where", ["all", "hidden"])
def test_losses_are_those_by_hand(runs, where):
    objective, _, _, batch, outputs = runs[where]
    ours, theirs = np.asarray(outputs.student.logits), np.asarray(outputs.teacher.logits)
    assert ours.shape[1] == (pairs.LENGTH if where == "all" else batch["targets"].shape[1])
    soft, hard, cosine = [], [], []
    for r in range(len(LENGTHS)):
        slots = np.flatnonzero(batch["target_weights"][r])
        places = batch["hidden_positions" if where == "all" else "prediction_positions"][r]
        for slot in slots:
            logits = ours[r, places[slot] if where == "all" else slot]
            hard.append(-np.log(pairs.softmax(logits)[batch["targets"][r, slot]]))
        for place in range(LENGTHS[r]) if where == "all" else slots:
            p, q = pairs.softmax(theirs[r, place] / 2), pairs.softmax(ours[r, place] / 2)
            soft.append(4 * np.sum(p * np.log(p / q)))
        for place in range(LENGTHS[r]):
            a, b = (np.asarray(o.hidden, np.float64)[r, place] for o in (outputs.student, outputs.teacher))
            cosine.append(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    terms = objective.loss(outputs, batch)
    pairs.check_terms(terms, {"soft": (soft, 5.0), "mlm": (hard, 2.0), "cosine": (cosine, 1.0)})
    assert set(terms) == {"soft", "mlm", "mlm_accuracy", "cosine"}


def test_a_student_that_answers_as_its_teacher_has_nothing_soft_to_learn(runs):
    objective, _, _, batch, outputs = runs["all"]
    terms = objective.loss(outputs.replace(student=outputs.teacher), batch)
    assert abs(float(terms["soft"].sum)) < 1e-4 and abs(float(terms["cosine"].sum)) < 1e-4


def test_the_student_learns_from_all_and_the_teacher_from_nothing(runs):
    objective, model, params, batch, _ = runs["all"]
    found = pairs.gradients(model, objective, params, batch, ["soft"], ["mlm"], ["cosine"])
    for gradient, has_head in zip(found, (True, True, False), strict=True):
        assert not any(value.any() for name, value in gradient.items() if name.startswith("teacher/"))
        assert gradient["student/encoder/layers/ffn/up/kernel"].any() and gradient["student/token/embedding"].any()
        assert gradient["student/mlm_head/dense/kernel"].any() == has_head


POSITIONS, TYPES = "student/encoder_embeddings/position/embedding", "student/encoder_embeddings/token_type/embedding"


def source(objective, name, layers=2, theirs=2):
    """What a parameter, or each layer of one, comes from."""
    ((workdir, rules),) = objective.initial()
    assert workdir == objective.teacher
    shapes = {"teacher/encoder/layers/x": (theirs, 1), "student/encoder/layers/x": (layers, 1)}
    around = ["student/token/embedding", "student/mlm_head/bias", POSITIONS, TYPES, "student/new"]
    found = names.match(rules, shapes | dict.fromkeys(around, (1,)), expand=True)
    return np.atleast_1d(found[name]).tolist()


def test_the_student_begins_as_chosen_layers_of_its_teacher(build):
    evenly = build("distillation", **SHORT)
    assert source(evenly, "student/encoder/layers/x") == ["encoder/layers/0/x", "encoder/layers/2/x"]
    assert source(evenly, "teacher/encoder/layers/x") == ["encoder/layers/0/x", "encoder/layers/1/x"]
    assert source(evenly, "student/token/embedding") == ["token/embedding"]
    assert source(evenly, "student/mlm_head/bias") == ["mlm_head/bias"]
    assert source(evenly, "student/new") == [None]
    chosen = build("distillation", **SHORT, objective__teacher_layers=(2, 1))
    assert source(chosen, "student/encoder/layers/x") == ["encoder/layers/2/x", "encoder/layers/1/x"]
    other = build("distillation", **SHORT, objective__cosine_weight=0.0, model=dict(width=16, embedding_width=16))
    assert source(other, "student/encoder/layers/x") == [None, None]
    assert source(other, "teacher/encoder/layers/x") == ["encoder/layers/0/x", "encoder/layers/1/x"]


def test_half_of_twelve_layers_begin_as_published(build):
    objective = build("distillation", **SHORT, objective__teacher=teachers.workdir(layers=12), model=dict(layers=6))
    taken = source(objective, "student/encoder/layers/x", layers=6, theirs=12)
    assert taken == [f"encoder/layers/{layer}/x" for layer in (0, 2, 4, 7, 9, 11)]


@pytest.mark.parametrize(
    "field, value",
    [
        ("kv_heads", 2),
        ("head_dim", 16),
        ("activation", "relu"),
        ("gated", True),
        ("norm", "rms"),
        ("norm_position", "pre"),
        ("norm_epsilon", 1e-5),
        ("use_bias", False),
        ("attention_bias", "qkv"),
        ("positions", "sinusoidal"),
        ("shared_layers", True),
    ],
)
def test_layers_that_are_not_alike_are_not_copied_and_the_log_says_why(build, field, value):
    objective = build("distillation", **SHORT, model={field: value})
    assert source(objective, "student/encoder/layers/x") == [None, None]
    assert source(objective, "student/token/embedding") == [None]
    (remark,) = objective.remarks
    assert remark.startswith("The student begins anew") and f"model.{field}={value!s} (teacher: " in remark
    with pytest.raises(ConfigError, match=rf"teacher_layers=\(0, 1\) cannot be copied.*model.{field}={value!s} "):
        build("distillation", **SHORT, model={field: value}, objective__teacher_layers=(0, 1))


def test_around_the_layers_only_what_fits_is_copied(build):
    plain = build("distillation", **SHORT)
    assert source(plain, POSITIONS) == [POSITIONS.removeprefix("student/")] and not plain.remarks
    assert source(plain, TYPES) == [TYPES.removeprefix("student/")]
    other = build("distillation", **SHORT, model=dict(max_positions=16, token_types=6, padded_vocab=48))
    assert source(other, "student/encoder/layers/x") == ["encoder/layers/0/x", "encoder/layers/2/x"]
    for name in (POSITIONS, TYPES, "student/token/embedding", "student/mlm_head/bias"):
        assert source(other, name) == [None]


def test_shared_layers_are_counted_as_stored(build):
    albert = dict(objective__teacher=teachers.workdir(shared_layers=True, layers=12), **SHORT)
    objective = build("distillation", **albert, model=dict(shared_layers=True))
    assert source(objective, "student/encoder/layers/x", layers=1, theirs=1) == ["encoder/layers/0/x"]
    with pytest.raises(ConfigError, match="must name 1 layers.*out of 0 to 0"):
        build("distillation", **albert, model=dict(shared_layers=True), objective__teacher_layers=(0, 1))


BAD = [
    ({"objective__teacher": ""}, "no objective.teacher.*configs/bert_base.py:tiny --workdir=runs/bert_base-tiny"),
    ({"objective__teacher": "/no/run"}, "objective.teacher=/no/run holds no run.*--workdir=/no/run"),
    ({"objective__soft_weight": -1.0}, "objective.soft_weight=-1.0 must be at least 0"),
    (dict.fromkeys(("objective__soft_weight", "objective__hard_weight", "objective__cosine_weight"), 0.0), "all 0"),
    ({"objective__temperature": 0.0}, "objective.temperature=0.0 must be more than 0"),
    ({"objective__soft_targets": "some"}, "objective.soft_targets='some' is not one of all, hidden"),
    ({"objective__teacher_layers": (0,)}, "must name 2 layers.*out of 0 to 2"),
    ({"objective__teacher_layers": (0, 3)}, "must name 2 layers.*out of 0 to 2"),
    ({"model": dict(width=16)}, "model.width=16, but .* is 32: set model.width=32, or objective.cosine_weight=0"),
    ({"model": dict(vocab_size=48)}, "model.vocab_size=48, but .* is 40"),
    (
        {"model": dict(ffn=16), "objective__teacher_layers": (0, 1)},
        r"cannot be copied.*: model.ffn=16 \(teacher: 64\); make them alike",
    ),
]


@pytest.mark.parametrize("options, message", BAD)
def test_bad_options_are_explained(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("distillation", **SHORT | options)


def test_a_teacher_must_predict_hidden_tokens_of_such_rows(build):
    for name in ("replaced_tokens", "corrective_lm"):  # the main part of neither reads [MASK], whatever its heads
        with pytest.raises(ConfigError, match=f"objective.name={name}, and its model does not read .MASK."):
            build("distillation", **SHORT, objective__teacher=teachers.workdir(name))
    short = teachers.workdir(max_positions=16)
    assert build("distillation", **SHORT, objective__teacher=short)
    with pytest.raises(ConfigError, match="the teacher.*16 learned positions"):
        build("distillation", data__sequence_length=17, objective__teacher=short)
