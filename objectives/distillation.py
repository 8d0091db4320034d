"""Knowledge distillation of a masked language model (DistilBERT; Sanh et al. 2019, arXiv:1910.01108)."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cloze import models, options
from cloze.configs import base
from cloze.errors import ConfigError
from cloze.models.composite import Composite
from cloze.models.composites import Distillation
from cloze.models.config import PositionOptions
from cloze.objectives.base import Objective, Term, check_positions
from cloze.objectives.losses import token_terms
from cloze.objectives.masked_lm import MaskedLM

SOFT_TARGETS = ("all", "hidden")
# What decides the shape and the meaning of layers: where it is the same, a student's may be copies of its teacher's.
LAYERS = (
    "width", "heads", "kv_heads", "head_dim", "ffn", "gated", "activation", "norm", "norm_position", "norm_epsilon",
    "norm_plus_one", "final_norm", "use_bias", "attention_bias", "scale_attention", "shared_layers", "pattern",
    "window", "first_attention_norm", "query_key_norm", "query_scalar", "attention_softcap", "positions",
    *options.declared(PositionOptions),
)  # fmt: skip
# The same of parameters that may be copied with them.
AROUND = {
    "encoder": (),
    "encoder_relative": (),
    "encoder_relative_bias": (),
    "enhanced_decoder_position": ("max_positions",),
    "token": ("embedding_width", "padded_vocab", "scale_embeddings"),
    "encoder_embeddings/position": ("embedding_width", "max_positions", "position_offset"),
    "encoder_embeddings/token_type": ("embedding_width", "token_types"),
    "encoder_embeddings/norm": ("embedding_width", "embedding_norm"),
    "encoder_embeddings/projection": ("embedding_width",),
    "mlm_head": ("embedding_width", "padded_vocab", "mlm_transform", "tie_embeddings"),
}
EXECUTION = ("dtype", "attention_backend", "scan")


def spread(student_layers, teacher_layers):
    """Which of the teacher's layers the student's begin as: spread evenly, first and last among them.

    Of 12 for 6 they are 0, 2, 4, 7, 9 and 11, as in the paper's code.
    """
    return tuple(int(layer) for layer in np.round(np.linspace(0, teacher_layers - 1, student_layers)))


def soft_losses(student_V, teacher_V, temperature):
    """T^2 KL(teacher || student) of the softmaxes at temperature T, f32 [...] (Hinton et al. 2015, section 2)."""
    student_V = jax.nn.log_softmax(student_V.astype(jnp.float32) / temperature)
    teacher_V = jax.nn.log_softmax(teacher_V.astype(jnp.float32) / temperature)
    return temperature**2 * jnp.sum(jnp.exp(teacher_V) * (teacher_V - student_V), axis=-1)


def cosine_losses(student_D, teacher_D):
    """1 - cosine of two states, f32 [...]."""
    a, b = (x.astype(jnp.float32) for x in (student_D, teacher_D))
    norms = jnp.sqrt((jnp.sum(a * a, axis=-1) + 1e-12) * (jnp.sum(b * b, axis=-1) + 1e-12))
    return 1 - jnp.sum(a * b, axis=-1) / norms


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class DistilledMaskedLM(Objective):
    """A student learns a teacher's answers, the hidden tokens, and the direction of the teacher's last states.

    The teacher is a run's model. It is part of the tree, frozen, and runs without dropout. The student's layers begin
    as copies of the teacher's where both are alike, and then its embeddings and head, each where it fits.

    Attributes:
        masked: MaskedLM, which hides tokens.
        teacher: directory of the teacher's run.
        teacher_config: its ModelConfig.
        copies: the teacher's layer that each of the student's begins as; empty: the student begins anew.
        around: keys of AROUND that are copied with them.
        soft_weight, hard_weight, cosine_weight: of the three losses.
        temperature: of the soft targets.
        everywhere: soft targets at all tokens and not only at the hidden ones.
        label_smoothing, z_loss: of the hidden tokens' loss, see `objectives.losses.cross_entropy`.
    """

    architectures = ("encoder",)
    frozen = ("teacher/.*",)
    masked: Any
    teacher: str
    teacher_config: Any
    copies: tuple[int, ...]
    around: tuple[str, ...]
    remarks: tuple[str, ...]
    soft_weight: float
    hard_weight: float
    cosine_weight: float
    temperature: float
    everywhere: bool
    label_smoothing: float
    z_loss: float

    @classmethod
    def check(cls, config):
        """There must be a teacher. Its tokenizer is this run's, and would be missed first."""
        given = config.objective.teacher
        if given and (pathlib.Path(given) / "config.json").exists():
            return
        found = f"objective.teacher={given} holds no run: config.json is missing" if given else "no objective.teacher"
        raise ConfigError(
            f"{found}. The teacher is a finished run of a masked language model; make one with "
            f"python train.py --config=configs/bert_base.py:tiny --workdir={given or 'runs/bert_base-tiny'}"
        )

    @classmethod
    def build(cls, config, tables, model_config):
        """Reads rows as masked_lm without pairs does."""
        objective = config.objective
        cls.check(config)
        _check_options(objective)
        masked = MaskedLM.build(config, tables, model_config)
        teacher_config = _teacher(config, tables, model_config)
        check_positions(teacher_config, config.data.sequence_length, "data.sequence_length (read by the teacher)")
        copies, remarks = _copies(objective.teacher_layers, model_config, teacher_config)
        return cls(
            rows=masked.rows,
            outputs=("mlm",),
            masked=masked,
            teacher=objective.teacher,
            teacher_config=teacher_config,
            copies=copies,
            around=tuple(
                name for name, fields in AROUND.items() if not _differing(fields, model_config, teacher_config)
            ),
            remarks=remarks,
            soft_weight=objective.soft_weight,
            hard_weight=objective.hard_weight,
            cosine_weight=objective.cosine_weight,
            temperature=objective.temperature,
            everywhere=objective.soft_targets == "all",
            label_smoothing=objective.label_smoothing,
            z_loss=objective.z_loss,
        )

    def model(self, model_config, **_):
        """Student and teacher. The teacher computes as the student does: in its dtype, by its kernels."""
        changes = {field: getattr(model_config, field) for field in EXECUTION}
        quiet = dict(dropout=0.0, attention_dropout=0.0)
        return Distillation(model_config, dataclasses.replace(self.teacher_config, **quiet, **changes))

    def initial(self):
        """The teacher, and the student from it."""
        if not self.copies:
            return [(self.teacher, (("teacher/(.*)", r"\1"), (".*", None)))]
        layers = (
            (rf"student/encoder/layers/{ours}/(.*)", rf"encoder/layers/{theirs}/\1")
            for ours, theirs in enumerate(self.copies)
        )
        # One pattern, as a pattern of what no student has would be refused.
        copied = (rf"(?:teacher|student(?=/(?:{'|'.join(self.around)})/))/(.*)", r"\1")
        return [(self.teacher, (*layers, copied, (".*", None)))]

    def row_keys(self, key, rows):
        """As masked_lm."""
        return self.masked.row_keys(key, rows)

    def corrupt_row(self, key, row):
        """As masked_lm."""
        batch = self.masked.corrupt_row(key, row)
        if self.everywhere:  # heads run at all tokens where no place is named
            batch["hidden_positions"] = batch.pop("prediction_positions")
        return batch

    def loss(self, outputs, batch):
        """Terms "soft", "mlm" and "cosine", and "mlm_accuracy"."""
        student, teacher = outputs.student, outputs.teacher
        segments = batch.get("segments")
        real = jnp.ones(batch["tokens"].shape) if segments is None else (segments > 0).astype(jnp.float32)
        scored, used = student, batch["target_weights"]
        if self.everywhere:
            places = batch["hidden_positions"][..., None]
            scored = student.replace(heads={"mlm": jnp.take_along_axis(student.logits, places, axis=1)})
        terms = token_terms(
            scored,
            batch,
            label_smoothing=self.label_smoothing,
            z_loss=self.z_loss,
            names=("mlm", "mlm_accuracy"),
        )
        terms["mlm"] = terms["mlm"]._replace(coefficient=self.hard_weight)
        weights = real if self.everywhere else used
        soft = soft_losses(student.logits, teacher.logits, self.temperature)
        terms["soft"] = Term(jnp.sum(soft * weights), jnp.sum(weights), self.soft_weight)
        if self.cosine_weight:
            cosine = cosine_losses(student.hidden, teacher.hidden)
            terms["cosine"] = Term(jnp.sum(cosine * real), jnp.sum(real), self.cosine_weight)
        return terms


def _check_options(objective):
    if objective.pairs != "none":
        raise ConfigError(
            f"objective.pairs={objective.pairs} does not go with objective.name=distillation, which learns masked "
            "tokens only: set objective.pairs=none"
        )
    weights = ("soft_weight", "hard_weight", "cosine_weight")
    for option in weights:
        if not objective[option] >= 0:
            raise ConfigError(f"objective.{option}={objective[option]} must be 0 or more")
    if not any(objective[option] for option in weights):
        raise ConfigError(f"objective.{', objective.'.join(weights)} are all 0: there is nothing to learn")
    if not objective.temperature > 0:
        raise ConfigError(f"objective.temperature={objective.temperature} must be above 0 (DistilBERT: 2)")
    if objective.soft_targets not in SOFT_TARGETS:
        raise ConfigError(f"objective.soft_targets={objective.soft_targets!r} is not one of {', '.join(SOFT_TARGETS)}")


def _teacher(config, tables, model_config):
    """The teacher's ModelConfig, from its run."""
    from cloze import objectives  # what a run trains is for its objective to say, and that may be any of them

    workdir = pathlib.Path(config.objective.teacher)
    theirs = base.load(workdir / "config.json")
    resolved = models.resolve(theirs.model)
    objective = objectives.build(theirs, tables, resolved)
    heads = {*objective.outputs, *(theirs.model.heads_out or ())}  # a converted model says itself which it has
    model = objective.model(dataclasses.replace(resolved, heads_out=objective.outputs))
    fills = model.fills == model.main if isinstance(model, Composite) else resolved.architecture == "encoder"
    if not fills or "mlm" not in heads:
        raise ConfigError(
            f"objective.teacher={workdir} was trained with objective.name={theirs.objective.name}, and its model does "
            "not read [MASK] and say what was there: name the run of a masked language model"
        )
    for field in ("vocab_size", *(["width"] if config.objective.cosine_weight else [])):
        ours, their = getattr(model_config, field), getattr(resolved, field)
        if ours != their:
            way_out = ", or objective.cosine_weight=0, as states of other sizes have no cosine" * (field == "width")
            raise ConfigError(
                f"model.{field}={ours}, but that of the teacher {workdir} is {their}: set "
                f"model.{field}={their}{way_out}"
            )
    return dataclasses.replace(resolved, heads_out=("mlm",))


def _differing(fields, student, teacher):
    return [field for field in fields if getattr(student, field) != getattr(teacher, field)]


def _copies(chosen, student, teacher):
    """The teacher's layer for each of the student's, checked, and remarks; none where layers are not alike.

    Layers are counted as they are stored: of a model that shares one at all depths there is one.
    """
    ours, theirs = (1 if config.shared_layers else config.layers for config in (student, teacher))
    differ = ", ".join(
        f"model.{field}={getattr(student, field)} (teacher: {getattr(teacher, field)})"
        for field in _differing(LAYERS, student, teacher)
    )
    if chosen and differ:
        raise ConfigError(
            f"objective.teacher_layers={chosen} cannot be copied, as the student's layers are not like the teacher's: "
            f"{differ}; make them alike, or leave objective.teacher_layers empty, and the student begins anew"
        )
    if differ:
        return (), (f"The student begins anew, as its layers are not like the teacher's: {differ}",)
    if not chosen:
        return spread(ours, theirs), ()
    if len(chosen) != ours or not all(isinstance(n, int) and 0 <= n < theirs for n in chosen):
        raise ConfigError(
            f"objective.teacher_layers={chosen} must name {ours} layers, one for each of the student's, out of 0 to "
            f"{theirs - 1}"
        )
    return tuple(chosen), ()
