"""What every objective is: the rows it reads, how it hides part of them and how it scores the answer.

An objective is a dataclass in a file of its own. Its options are declared where they are read, and stand in
`config.objective`; its other fields come from the tokenizer and the model. Made from Python it needs no configuration.

Dimensions in names of arrays: B rows of a batch, R tokens of a row as read, T tokens that a stack sees, P predictions
of a row, M hidden spans, V vocabulary.
"""

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax

from cloze import models, options
from cloze.data.rows import PACKINGS, Rows
from cloze.errors import ConfigError
from cloze.registry import Registry

OBJECTIVES = Registry("objective.name", "cloze.objectives")


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

    What a class says of all its objectives, or an objective of itself:
        architectures: what it can train, values of `model.architecture`.
        outputs: heads that the model must have, files of models/heads/.
        packings: values of data.packing that it can read.
        special_tokens, advice: special tokens that the tokenizer must have, and what to do where it has not.
        shortest: tokens that a row must have at least.
        frozen: patterns over parameter names that never train, whatever `config.trainable` says: a teacher.
        whole_batch: the loss compares rows of a batch with each other, so that a step cannot be cut into microbatches,
            but for
        compared: the head that is all that such a loss reads of the outputs: its scores of all microbatches are there
            before they are compared (training.gradients). Empty: it reads more.
        remarks: lines for the log, on what was decided by itself.

    Attributes:
        length: data.sequence_length, tokens of a row that the (first) stack sees.
        packing: data.packing.
        pad_id: id that fills rows up.
    """

    architectures: ClassVar[tuple[str, ...]]
    outputs: ClassVar[tuple[str, ...]] = ("lm",)
    packings: ClassVar[tuple[str, ...]] = ("windows",)
    special_tokens: ClassVar[tuple[str, ...]] = ()
    advice: ClassVar[str] = ""
    shortest: ClassVar[int] = 1
    frozen: ClassVar[tuple[str, ...]] = ()
    whole_batch: ClassVar[bool] = False
    compared: ClassVar[str] = ""
    remarks: ClassVar[tuple[str, ...]] = ()
    length: int = 512
    packing: str = "windows"
    pad_id: int = 0

    def __post_init__(self):
        options.check(type(self), vars(self), "objective")

    @classmethod
    def from_config(cls, config, tables, model_config) -> "Objective":
        """The objective of a configuration; arguments and errors as of `objectives.build`."""
        plain = cls.plain_fields(config, tables, model_config)
        names = {field.name for field in dataclasses.fields(cls)}
        plain = {name: value for name, value in plain.items() if name in names}
        objective = cls(**options.read(cls, config.objective), **plain)
        objective.check_fit(config, tables, model_config)
        for what, tokens in objective.stack_lengths.items():
            check_positions(model_config, tokens, what)
        return objective

    @classmethod
    def plain_fields(cls, config, tables, model_config) -> dict[str, Any]:
        """{field that is no option: its value}; those that the class does not have are left out."""
        ids = {f"{name}_id": getattr(tables, name) for name in ("bos", "eos", "cls", "sep", "mask", "pad")}
        if tables.pad is None:  # any id does where padding is neither seen nor scored
            ids["pad_id"] = 0 if tables.eos is None else tables.eos
        return ids | dict(
            length=config.data.sequence_length,
            target_length=config.data.target_length,
            packing=config.data.packing,
            seed=config.seed,
            vocab_size=tables.vocab_size,
            special=tables.special,
            starts_word=tables.starts_word,
            sentinels=tables.sentinels,
            architecture=model_config.architecture,
        )

    @classmethod
    def check_config(cls, config) -> None:
        """Refuses what can be seen before there is a tokenizer; see `objectives.check`."""
        del config

    def check_fit(self, config, tables, model_config) -> None:
        """Refuses rows, a tokenizer or a model that do not fit; arguments and errors as of `objectives.build`."""
        name = config.objective.name
        if self.packing not in self.packings:
            raise ConfigError(
                f"data.packing={self.packing} does not go with objective.name={name} here; leave it at "
                f"{self.packings[0]}"
            )
        if self.length < self.shortest:
            raise ConfigError(
                f"data.sequence_length={self.length} is too short for objective.name={name}: it must be at least "
                f"{self.shortest}"
            )
        check_special_tokens(config, tables, self.special_tokens, self.advice)

    @property
    def rows(self) -> Rows:
        """What it reads; data.rows and the files beside it have the kinds."""
        return self.packed(length=self.length)

    def packed(self, **fields) -> Rows:
        """Rows of text as `packing` says."""
        return PACKINGS[self.packing](pad=self.pad_id, **fields)

    @property
    def stack_lengths(self) -> dict[str, int]:
        """{what makes rows as long: tokens that a stack sees}."""
        return {"data.sequence_length": self.length}

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

    def initial(self) -> list:
        """Parameters that come from other runs before `config.init` does: [(workdir, rules as in init.rules)]."""
        return []

    def with_counts(self, counts) -> "Objective":
        """The objective once the corpus is known.

        Args:
            counts: int64 [V], how often each id occurs in the training text.
        """
        del counts
        return self

    def check_rows(self, batches) -> None:
        """Refuses a corpus in which there is nothing to hide, as far as its first rows show.

        Args:
            batches: function from step to rows as numpy arrays.

        Raises:
            DataError: what is missing.
        """
        del batches

    def for_validation(self) -> "Objective":
        """The same objective without what helps training and distorts a perplexity."""
        return self

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


def check_special_tokens(config, tables, names, advice) -> None:
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


def check_positions(model_config, length, option) -> None:
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
