"""What stands around the texts of labelled examples, and how they become rows: from tokenizer, model and options."""

import dataclasses
from typing import Any, ClassVar

from cloze.data.encoding import Layout
from cloze.data.examples import Examples
from cloze.errors import ConfigError
from cloze.models.config import presets
from cloze.objectives.base import Objective, check_special_tokens

MARKERS = ("START", "DELIM", "EXTRACT")
LEFT_TO_RIGHT = ("decoder", "recurrent")
# Pretrained on pairs that two separators stand between (Liu et al. 2019; as in fairseq's and transformers' tokenizers).
DOUBLE_SEPARATOR = ("roberta", "bart", "coco_lm")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Labelled(Objective):
    """An objective that reads labelled examples. Rows are batches already: nothing is hidden or drawn.

    Attributes:
        rows: data.examples.Examples, those of a task's examples; None: it is given batches.
        kinds, otherwise: values of task.kind that it learns, and the objective that learns others.
    """

    kinds: ClassVar[tuple[str, ...]]
    otherwise: ClassVar[str]
    rows: Any = None

    @classmethod
    def plain_fields(cls, config, tables, model_config):
        """Those of all objectives, and `rows`."""
        check_kind(config, cls.kinds, cls.otherwise)
        options = cls.layout(config, tables, model_config)
        return super().plain_fields(config, tables, model_config) | dict(
            rows=rows(config, tables, model_config, **options)
        )

    @classmethod
    def layout(cls, config, tables, model_config) -> dict[str, Any]:
        """Fields of Layout beyond what all kinds have."""
        del config, tables, model_config
        return {}

    def check_fit(self, config, tables, model_config):
        """Examples are held out by their task."""
        super().check_fit(config, tables, model_config)
        if config.data.validation_source:
            raise ConfigError(
                f"data.validation_source={config.data.validation_source} does not go with objective.name="
                f"{config.objective.name}, which does not read it; leave it at ''"
            )

    def corrupt_row(self, key, row):
        """The row as it is."""
        del key  # nothing is drawn
        return dict(row)


def rows(config, tables, model_config, **options):
    """The rows of labelled examples.

    Args:
        config: the whole configuration; task.kind is set.
        tables: the tokenizer's tables.
        model_config: models.ModelConfig.
        **options: fields of Layout beyond what all kinds have.

    Raises:
        ConfigError: options that do not go together, or a tokenizer or model without room for what they need.
    """
    task, length, architecture = config.task, config.data.sequence_length, model_config.architecture
    layout = Layout(
        kind=task.kind,
        architecture=architecture,
        length=length,
        types=model_config.token_types > 1,
        pool=model_config.pooling if model_config.pooling in ("first", "last") else "all",
        both_orders=task.both_orders,
        stride=task.stride,
        max_question=task.max_question,
        decoder_start=decoder_start(config, tables) if architecture == "encoder_decoder" else 0,
    )
    frame = _markers(config, tables, model_config) if task.markers else _specials(config, tables, model_config)
    layout = dataclasses.replace(layout, **(frame | options))
    longest = len(layout.start) + len(layout.end) + 1
    if length < longest:
        raise ConfigError(
            f"data.sequence_length={length} is too short for objective.name={config.objective.name}: it must be at "
            f"least {longest}, for special tokens and one of text"
        )
    batching = _batching(config, layout, model_config)
    pad = 0 if tables.pad is None else tables.pad
    return Examples(length=length, pad=pad, layout=layout, batching=batching)


def check_kind(config, kinds, otherwise):
    """Refuses examples of a kind that the objective does not learn.

    Args:
        config: the whole configuration.
        kinds: values of task.kind.
        otherwise: the objective that learns others, and what of.

    Raises:
        ConfigError: names the kinds, or task.name where that is missing.
    """
    name, task = config.objective.name, config.task
    if task.kind in kinds:
        return
    if not task.name:
        raise ConfigError(f"objective.name={name} reads labelled examples: set task.name to a task, such as package")
    raise ConfigError(
        f"objective.name={name} does not learn task.kind={task.kind!r}: set task.kind to one of {', '.join(kinds)} "
        f"that goes with task.name={task.name}, or objective.name={otherwise}"
    )


def decoder_start(config, tables):
    """The id that the decoder of an encoder-decoder reads first: BART's is the end of a text, T5's padding."""
    return tables.eos if config.model.family == "bart" else tables.pad


def text_start(config, tables):
    """Ids before the texts that an encoder-decoder reads and writes: BART was trained on whole texts, T5 on none."""
    return (tables.cls,) if config.model.family == "bart" and tables.cls is not None else ()


def _specials(config, tables, model_config):
    """{"start", "separator", "end"} of the tokenizer's special tokens, as the families were pretrained."""
    times = 2 if config.model.family in DOUBLE_SEPARATOR else 1
    # An encoder that was taken out of an encoder-decoder reads as that does.
    architecture = "encoder_decoder" if _has_decoder(config.model) else model_config.architecture
    if architecture == "encoder":
        check_special_tokens(config, tables, ("cls", "sep", "pad"), "use tokenizer.kind=wordpiece")
        if model_config.pooling == "last":  # XLNet
            return dict(start=(), separator=(tables.sep,), end=(tables.sep, tables.cls))
        return dict(start=(tables.cls,), separator=(tables.sep,) * times, end=(tables.sep,))
    end = tables.sep if tables.eos is None else tables.eos
    if end is None:
        check_special_tokens(
            config, tables, ("eos",), "use a tokenizer with an end of text, as tokenizer.kind=byte_bpe"
        )
    if architecture == "encoder_decoder":
        check_special_tokens(config, tables, ("eos", "pad"), "use tokenizer.kind=unigram")
        start = text_start(config, tables)
    else:  # what pretraining began texts with, where that does not end them too (GPT-2)
        start = () if tables.bos is None or tables.bos == tables.eos else (tables.bos,)
    return dict(start=start, separator=(end,) * times, end=(end,))


def _has_decoder(settings):
    """Whether the model of a configuration is an encoder-decoder."""
    layers = settings.decoder_layers
    return bool(presets(settings.family).get(settings.preset, {}).get("decoder_layers") if layers is None else layers)


def _markers(config, tables, model_config):
    """The same of GPT-1's three new tokens, whose ids follow the tokenizer's (Radford et al. 2018, section 3.3)."""
    if model_config.architecture not in LEFT_TO_RIGHT or config.task.kind == "text":
        raise ConfigError(
            f"task.markers are for classifiers that read from left to right, not for model.family="
            f"{config.model.family} with task.kind={config.task.kind}: set task.markers=False"
        )
    needed = tables.vocab_size + len(MARKERS)
    if model_config.vocab_size < needed:
        raise ConfigError(
            f"task.markers adds {', '.join(MARKERS)} behind the {tables.vocab_size} ids of the tokenizer, the model "
            f"has room for {model_config.vocab_size}: set model.vocab_size={needed}"
        )
    start, delimiter, extract = range(tables.vocab_size, needed)
    return dict(start=(start,), separator=(delimiter,), end=(extract,))


def _batching(config, layout, model_config):
    """The way in which rows are made; refuses to pack what needs rows of its own."""
    task = config.task
    reasons = {
        f"task.kind={layout.kind}": layout.kind in ("choice", "embedding"),
        "task.both_orders": layout.both_orders,
        "an encoder-decoder": layout.architecture == "encoder_decoder",
        "model.pooling=max or mean": layout.pool == "all" and layout.kind in ("class", "regression"),
        "a prompt (finetune.method=prompt or p_tuning), which is in front of a row": model_config.prompt_length > 0,
    }
    if task.batching == "auto":
        alone = layout.architecture not in ("encoder", "decoder") or config.finetune.dp_clip_norm
        return "buckets" if alone or any(reasons.values()) else "pack"
    for reason, holds in reasons.items():
        if task.batching == "pack" and holds:
            raise ConfigError(
                f"task.batching=pack puts several examples into a row, which does not go with {reason}: set "
                "task.batching=buckets"
            )
    return task.batching
