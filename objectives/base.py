"""What every objective is: the rows it reads, how it hides part of them and how it scores the answer.

Dimensions in names of arrays: B rows of a batch, R tokens of a row as read, T tokens that a stack sees, P predictions
of a row, M hidden spans, V vocabulary.
"""

import abc
import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import jax

from cloze import models
from cloze.data.rows import PACKINGS, Rows
from cloze.errors import ConfigError, DataError
from cloze.objectives.masking import ENTITY

SEARCHED = 16  # batches that must hold a name, date or number where an objective hides those


class Term(NamedTuple):
    """One summand of the loss, or a metric. Terms of the same name add up over microbatches and devices.

    The loss is the sum over terms of coefficient * (sum / weight), where sum and weight are totals of the whole batch.

    Attributes:
        sum: f32 scalar, sum over what is scored.
        weight: f32 scalar that depends on the batch alone, never on the outputs; 0 where nothing is scored. That of a
            metric may depend on the outputs, as it enters no gradient.
        coefficient: Python float; 0.0 marks a metric.
    """

    sum: Any
    weight: Any
    coefficient: float


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Objective(abc.ABC):
    """A pure transform of rows and a loss; both run on the device inside the jitted step.

    Rows are a dict of int32 arrays: `tokens` [B, R]; `segments` [B, R] (0 is padding; absent: rows are whole);
    `positions` [B, R] of packed documents; `token_types` [B, R] and `labels` [B] of pairs; `flags` [B, R] where asked
    for; `row_id`, `epoch` and `row` [B], the place of a row in the global batch. Rows of labelled examples are batches
    already, of the arrays that `data.example_rows.fill` lists.

    A batch is a dict of `tokens, segments, positions, ranks, token_types` [B, T], the same as `decoder_*`, `targets`
    int32 and `target_weights` f32 [B, T] (of the decoder, where there is one), or [B, P] with `prediction_positions`
    int32 [B, P] when only some positions are scored, `labels` int32 and `label_weights` f32 [B]. Only `tokens` is
    always there. An absent key has a static meaning that lets fused kernels be used: one whole segment, positions
    0, 1, 2, ..., and the stack's own visibility.

    Attributes:
        rows: what it reads; data.rows and the files beside it have the kinds.
        outputs: heads that the model must have, files of models/heads/.
        architectures: what it can train, values of `model.architecture`.
        frozen: patterns over parameter names that never train, whatever `config.trainable` says: a teacher.
        whole_batch: the loss compares rows of a batch with each other, so that a step cannot be cut into microbatches.
        remarks: lines for the log, on what was decided by itself.
    """

    architectures: ClassVar[tuple[str, ...]]
    frozen: ClassVar[tuple[str, ...]] = ()
    whole_batch: ClassVar[bool] = False
    remarks: ClassVar[tuple[str, ...]] = ()
    rows: Rows
    outputs: tuple[str, ...]

    @classmethod
    @abc.abstractmethod
    def build(cls, config, tables, model_config):
        """The objective of a configuration; see `objectives.build`."""

    @classmethod
    def check(cls, config):
        """Refuses what can be seen before there is a tokenizer; see `objectives.check`."""
        del config

    @abc.abstractmethod
    def corrupt_row(self, key, row):
        """Hides part of one row.

        Args:
            key: threefry key of this row and step.
            row: dict of arrays as in rows, without the batch dimension; no `row`.

        Returns:
            Dict of arrays as in a batch, without the batch dimension.
        """

    @abc.abstractmethod
    def loss(self, outputs, batch):
        """Scores what a model answered.

        Args:
            outputs: has `logits` [B, T or P, V] and whatever else the heads in `self.outputs` give.
            batch: what `corrupt` returned.

        Returns:
            Dict from names to `Term`s.
        """

    def model(self, model_config, **frozen_layers):
        """The module that this objective trains.

        Args:
            model_config: models.ModelConfig with `heads_out` set.
            **frozen_layers: see `models.build`.

        Returns:
            What `models.build` gives, or a `models.composite.Composite` of several.
        """
        return models.build(model_config, **frozen_layers)

    def initial(self):
        """Parameters that come from other runs before `config.init` does: [(workdir, rules as in init.rules)]."""
        return []

    def with_counts(self, counts):
        """The objective once the corpus is known.

        Args:
            counts: int64 [V], how often each id occurs in the training text.
        """
        del counts
        return self

    def check_rows(self, batches):
        """Refuses a corpus in which there is nothing to hide, as far as its first rows show.

        Args:
            batches: function from step to rows as numpy arrays.

        Raises:
            DataError: no row has a name, date or number, and these are what is hidden.
        """
        if not self.rows.entities or any((batches(step)["flags"] & ENTITY).any() for step in range(SEARCHED)):
            return
        raise DataError(
            f"no name, date or number was found in the first {SEARCHED} batches, so that there is nothing to hide: "
            "give text with capitals and numbers, or choose another objective.name or objective.masking"
        )

    def for_validation(self):
        """The same objective without label smoothing and z-loss: they help training and distort a perplexity."""
        plain = {"label_smoothing": 0.0, "z_loss": 0.0}
        present = {field.name for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **{name: value for name, value in plain.items() if name in present})

    def corrupt(self, key, rows):
        """Hides part of every row; traceable, of static shapes.

        A row's random bits are those of its place in the global batch, so that they depend neither on microbatches
        nor on the mesh, and always threefry's, whatever generator dropout uses.

        Args:
            key: threefry key of the step.
            rows: dict of int32 arrays with `tokens` [B, R] and `row` [B].

        Returns:
            The batch, a dict of arrays with leading dimension B.
        """
        if jax.random.key_impl(key) != "threefry2x32":
            raise ValueError("corruption needs a threefry key: jax.random.key(seed, impl='threefry2x32')")
        keys = self.row_keys(key, rows)
        return jax.vmap(self.corrupt_row)(keys, {name: array for name, array in rows.items() if name != "row"})

    def row_keys(self, key, rows):
        """The key of each row, [B], from the key of the step and the row's place in the global batch."""
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows["row"])


def check_share(option, value, *, zero=False, one=False):
    """Refuses a share outside (0, 1), or [0, 1) with `zero`, (0, 1] with `one`.

    Raises:
        ConfigError: names the option, its value and the interval.
    """
    if not (0 < value < 1 or (zero and value == 0) or (one and value == 1)):
        interval = f"{'[' if zero else '('}0, 1{']' if one else ')'}"
        raise ConfigError(f"{option}={value} must lie in {interval}")


def check_replacements(objective):
    """Refuses shares of hidden tokens, masked and replaced at random, that are none or exceed 1 together.

    Raises:
        ConfigError: names the options.
    """
    check_share("objective.mask_token_share", objective.mask_token_share, zero=True, one=True)
    check_share("objective.random_token_share", objective.random_token_share, zero=True, one=True)
    if objective.mask_token_share + objective.random_token_share > 1 + 1e-9:  # 0.9 + 0.1 may round above 1
        raise ConfigError(
            f"objective.mask_token_share={objective.mask_token_share} and objective.random_token_share="
            f"{objective.random_token_share} exceed 1 together: lower one of them"
        )


def check_loss_options(config):
    """Refuses label smoothing outside [0, 1) and a negative z-loss.

    Raises:
        ConfigError: names the option and what it may be.
    """
    check_share("objective.label_smoothing", config.objective.label_smoothing, zero=True)
    if not 0 <= config.objective.z_loss < math.inf:
        raise ConfigError(
            f"objective.z_loss={config.objective.z_loss} must be 0 or more, and finite (T5 pretraining: 1e-4)"
        )


def check_unread(config, objective=None, **defaults):
    """Refuses options that an objective does not read, unless they are at their defaults.

    Args:
        config: the whole configuration.
        objective: what it is called in the message; None: by its name.
        **defaults: values by option, as data__target_length=None.

    Raises:
        ConfigError: names the option, its value and its default.
    """
    for name, default in defaults.items():
        section, field = name.split("__")
        if config[section][field] != default:
            raise ConfigError(
                f"{section}.{field}={config[section][field]} does not go with "
                f"{objective or f'objective.name={config.objective.name}'}, which does not read it; leave it at "
                f"{default!r}"
            )


def padding(tables, otherwise=0):
    """The id that fills rows up; GPT-2 has no padding token, and any id does where what pads is not seen nor scored."""
    return otherwise if tables.pad is None else tables.pad


def check_special_tokens(config, tables, names, advice):
    """Refuses a tokenizer that lacks a special token.

    Args:
        config: the whole configuration.
        tables: the tokenizer's tables.
        names: attributes of `tables` that must not be None.
        advice: what to set instead.

    Raises:
        ConfigError: names what is missing and the advice.
    """
    missing = [name for name in names if getattr(tables, name) is None]
    if missing:
        raise ConfigError(
            f"objective.name={config.objective.name} needs the special token{'s' * (len(missing) > 1)} "
            f"{', '.join(missing)}, which the tokenizer (tokenizer.kind={config.tokenizer.kind}) lacks: {advice}"
        )


def check_length(config, minimum):
    """Refuses rows that cannot hold what the objective must put in them.

    Raises:
        ConfigError: names data.sequence_length and the minimum.
    """
    if config.data.sequence_length < minimum:
        raise ConfigError(
            f"data.sequence_length={config.data.sequence_length} is too short for objective.name="
            f"{config.objective.name}: it must be at least {minimum}"
        )


def check_positions(model_config, length, option):
    """Refuses rows that are longer than the model's table of learned positions.

    Args:
        model_config: has `longest_row`.
        length: tokens that the stack sees.
        option: what the length comes from.

    Raises:
        ConfigError: names both lengths and the ways out.
    """
    if model_config.longest_row is not None and length > model_config.longest_row:
        raise ConfigError(
            f"{option} makes rows of {length} tokens, but the model has {model_config.longest_row} learned "
            f"positions: shorten the rows or set model.max_positions={length}"
        )


def check_packing(config, kinds=tuple(PACKINGS)):
    """The class of rows that data.packing asks for; `kinds` are those that the objective can read.

    Raises:
        ConfigError: it does not go with the objective.
    """
    if config.data.packing not in kinds:
        raise ConfigError(
            f"data.packing={config.data.packing} does not go with objective.name={config.objective.name} here; "
            f"leave it at {kinds[0]}"
        )
    return PACKINGS[config.data.packing]
