"""What is learned: every objective hides part of a text and scores how well a model puts it back."""

from cloze.errors import ConfigError
from cloze.objectives.base import OBJECTIVES, Objective, Term

__all__ = ["OBJECTIVES", "Objective", "Term", "build", "check"]


def check(config) -> None:
    """Refuses what an objective cannot do with any tokenizer, before one is made.

    Raises:
        ConfigError: what is missing and how to get it.
    """
    config.objective.chosen.check_config(config)


def build(config, tables, model_config) -> Objective:
    """The objective that a configuration names.

    Args:
        config: the whole configuration; reads `objective`, `data` and, for messages, `model` and `tokenizer`.
        tables: the tokenizer's tables: `vocab_size`; `pad, unk, bos, eos, cls, sep, mask` (id or None); `sentinels`
            int32 [n]; `special` and `starts_word` bool [vocab_size].
        model_config: models.ModelConfig.

    Returns:
        An `Objective`.

    Raises:
        ConfigError: an objective that cannot train the model's architecture, options outside their range, or a
            tokenizer without a token that the objective needs.
    """
    name, kind, architecture = config.objective.name, config.objective.chosen, model_config.architecture
    if architecture not in kind.architectures:
        fitting = [other for other, cls in OBJECTIVES.items() if architecture in cls.architectures]
        raise ConfigError(
            f"objective.name={name} trains models of architecture {' or '.join(kind.architectures)}, but "
            f"model.family={config.model.family} is of architecture {architecture}: set model.family to one of "
            f"{', '.join(_families(kind.architectures))}, or objective.name to one of {', '.join(fitting)}"
        )
    if tables.vocab_size > model_config.vocab_size:
        raise ConfigError(
            f"the tokenizer has {tables.vocab_size} ids, the model room for {model_config.vocab_size}: set "
            f"model.vocab_size={tables.vocab_size} or more, or lower tokenizer.vocab_size"
        )
    objective = kind.from_config(config, tables, model_config)
    if objective.rows.kind == "documents" and model_config.prompt_length:
        raise ConfigError(
            "data.packing=documents puts several texts into a row, and a prompt (finetune.method=prompt or p_tuning) "
            "is in front of one: set data.packing=windows"
        )
    return objective


def _families(architectures):
    """Model families with a published size of one of these architectures."""
    from cloze.models.config import families, presets  # only for a message: models are not needed to build an objective

    fits = {name: any(size["architecture"] in architectures for size in presets(name).values()) for name in families()}
    return [name for name, suits in fits.items() if suits]
