"""Knowledge distillation of a masked language model (DistilBERT; Sanh et al. 2019, arXiv:1910.01108)."""

import dataclasses
import pathlib
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from cloze import models, options
from cloze.errors import ConfigError
from cloze.models.composite import Composite
from cloze.models.composites import Distillation
from cloze.models.config import PositionOptions
from cloze.objectives.base import OBJECTIVES, Term, check_positions
from cloze.objectives.masked_lm import MaskedLM
from cloze.options import Path, option

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


@OBJECTIVES.register("distillation")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class DistilledMaskedLM(MaskedLM):
    """A student learns a teacher's answers, the hidden tokens, and the direction of the teacher's last states.

    The teacher is a run's model. It is part of the tree, frozen, and runs without dropout. The student's layers begin
    as copies of the teacher's where both are alike, and then its embeddings and head, each where it fits.

    Attributes:
        teacher_config: its ModelConfig.
        copies: the teacher's layer that each of the student's begins as; empty: the student begins anew.
        around: keys of AROUND that are copied with them.
        remarks: what was decided of them.
    """

    frozen = ("teacher/.*",)
    outputs = ("mlm",)
    pairs: ClassVar[str] = "none"  # the student learns masked tokens only
    short_pair_rate: ClassVar[float] = 0.0
    teacher: Path = option("", "workdir of the teacher, a finished run")
    teacher_layers: tuple[int, ...] = option(
        (),
        "the teacher's layer that each layer of the student begins as; empty: spread evenly, or none if sizes differ",
        least=0,
        most=9_999,
    )
    soft_targets: str = option(
        "all",
        "where the student learns the teacher's answers: at all tokens, or at the hidden ones",
        choices=SOFT_TARGETS,
    )
    temperature: float = option(2.0, "both softmaxes are taken at this temperature for that", above=0)
    soft_weight: float = option(5.0, "weight of the teacher's answers", least=0)
    hard_weight: float = option(2.0, "weight of the hidden tokens themselves", least=0)
    cosine_weight: float = option(
        1.0, "weight of 1 - cosine of both last states, at all tokens; 0: widths may differ", least=0
    )
    teacher_config: Any = None
    copies: tuple[int, ...] = ()
    around: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        if not (self.soft_weight or self.hard_weight or self.cosine_weight):
            raise ConfigError(
                "objective.soft_weight, objective.hard_weight, objective.cosine_weight are all 0: there is nothing to "
                "learn"
            )

    @classmethod
    def check_config(cls, config):
        """There must be a teacher. Its tokenizer is this run's, and would be missed first."""
        given = config.objective.teacher
        if given and (pathlib.Path(given) / "config.json").exists():
            return
        problem = f"objective.teacher={given} holds no run: config.json is missing" if given else "no objective.teacher"
        raise ConfigError(
            f"{problem}. The teacher is a finished run of a masked language model; make one with "
            f"python train.py --config=configs/bert_base.py:tiny --workdir={given or 'runs/bert_base-tiny'}"
        )

    @classmethod
    def plain_fields(cls, config, tables, model_config):
        """Those of `MaskedLM`, and what the teacher is like."""
        cls.check_config(config)
        teacher_config = _teacher(config, tables, model_config)
        copies, remarks = _copies(config.objective.teacher_layers, model_config, teacher_config)
        around = (name for name, fields in AROUND.items() if not _differing(fields, model_config, teacher_config))
        return super().plain_fields(config, tables, model_config) | dict(
            teacher_config=teacher_config, copies=copies, around=tuple(around), remarks=remarks
        )

    def check_fit(self, config, tables, model_config):
        """The teacher must have positions for the rows, too."""
        super().check_fit(config, tables, model_config)
        check_positions(self.teacher_config, self.length, "data.sequence_length (read by the teacher)")

    @property
    def everywhere(self):
        """Whether soft targets are those of all tokens, and not only of the hidden ones."""
        return self.soft_targets == "all"

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

    def corrupt_row(self, key, row):
        """As `MaskedLM`; where answers are learned at all tokens, `hidden_positions` are those of the hidden ones."""
        batch = super().corrupt_row(key, row)
        if self.everywhere:  # heads run at all tokens where no place is named
            batch["hidden_positions"] = batch.pop("prediction_positions")
        return batch

    def loss(self, outputs, batch):
        """Terms "soft", "mlm" and "cosine", and "mlm_accuracy"."""
        student, teacher = outputs.student, outputs.teacher
        segments = batch.get("segments")
        real = jnp.ones(batch["tokens"].shape) if segments is None else (segments > 0).astype(jnp.float32)
        logits, used = student.logits, batch["target_weights"]
        if self.everywhere:
            logits = jnp.take_along_axis(logits, batch["hidden_positions"][..., None], axis=1)
        terms = self.token_terms(logits, batch["targets"], used, ("mlm", "mlm_accuracy"))
        terms["mlm"] = terms["mlm"]._replace(coefficient=self.hard_weight)
        weights = real if self.everywhere else used
        soft = soft_losses(student.logits, teacher.logits, self.temperature)
        terms["soft"] = Term(jnp.sum(soft * weights), jnp.sum(weights), self.soft_weight)
        if self.cosine_weight:
            cosine = cosine_losses(student.hidden, teacher.hidden)
            terms["cosine"] = Term(jnp.sum(cosine * real), jnp.sum(real), self.cosine_weight)
        return terms


def _teacher(config, tables, model_config):
    """The teacher's ModelConfig, from its run."""
    from cloze import objectives  # what a run trains is for its objective to say, and that may be any of them
    from cloze.configs import base  # which imports the options of all objectives

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
