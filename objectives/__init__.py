"""What is learned: every objective hides part of a text and scores how well a model puts it back."""

from configs.base import suggest
from errors import ConfigError
from objectives.base import Objective, Rows, Term
from objectives.causal_lm import CausalLM
from objectives.masked_lm import MaskedLM
from objectives.permutation_lm import PermutationLM
from objectives.span_corruption import SpanCorruption

__all__ = ["OBJECTIVES", "Objective", "Rows", "Term", "build"]

OBJECTIVES = {
    "causal_lm": CausalLM,
    "masked_lm": MaskedLM,
    "permutation_lm": PermutationLM,
    "span_corruption": SpanCorruption,
}


def build(config, tables, model_config):
    """The objective that a configuration names.

    Args:
        config: the whole configuration; reads `objective`, `data` and, for messages, `model` and `tokenizer`.
        tables: the tokenizer's tables: `vocab_size`; `pad, unk, bos, eos, cls, sep, mask` (id or None); `sentinels`
            int32 [n]; `special` and `starts_word` bool [vocab_size].
        model_config: models.ModelConfig.

    Returns:
        An `Objective`.

    Raises:
        ConfigError: an unknown name, an objective that cannot train the model's architecture, options outside their
            range, or a tokenizer without a token that the objective needs.
    """
    name = config.objective.name
    if name not in OBJECTIVES:
        hint = suggest(name, OBJECTIVES) or "."
        raise ConfigError(f"unknown objective.name={name!r}{hint} Known objectives: {', '.join(OBJECTIVES)}")
    objective = OBJECTIVES[name]
    architecture = model_config.architecture
    if architecture not in objective.architectures:
        fitting = [other for other, kind in OBJECTIVES.items() if architecture in kind.architectures]
        raise ConfigError(
            f"objective.name={name} trains models of architecture {' or '.join(objective.architectures)}, but "
            f"model.family={config.model.family} is of architecture {architecture}: set model.family to one of "
            f"{', '.join(_families(objective.architectures))}, or objective.name to one of {', '.join(fitting)}"
        )
    if tables.vocab_size > model_config.vocab_size:
        raise ConfigError(
            f"the tokenizer has {tables.vocab_size} ids, the model room for {model_config.vocab_size}: set "
            f"model.vocab_size={tables.vocab_size} or more, or lower tokenizer.vocab_size"
        )
    return objective.build(config, tables, model_config)


def _families(architectures):
    """Model families with a published size of one of these architectures."""
    from models.config import FAMILIES, presets  # only for a message: models are not needed to build an objective

    fits = {name: any(size["architecture"] in architectures for size in presets(name).values()) for name in FAMILIES}
    return [name for name in FAMILIES if fits[name]]
