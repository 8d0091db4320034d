"""What is learned: every objective hides part of a text and scores how well a model puts it back."""

from cloze.errors import ConfigError
from cloze.objectives.bart import Bart
from cloze.objectives.base import Objective, Term
from cloze.objectives.bidirectional_lm import BidirectionalLM
from cloze.objectives.causal_lm import CausalLM
from cloze.objectives.corrective_lm import CorrectiveLM
from cloze.objectives.denoising import Denoising
from cloze.objectives.distillation import DistilledMaskedLM
from cloze.objectives.glove import GloVe
from cloze.objectives.masked_lm import MaskedLM
from cloze.objectives.permutation_lm import PermutationLM
from cloze.objectives.prefix_lm import PrefixLM
from cloze.objectives.replaced_tokens import ReplacedTokens
from cloze.objectives.responses import Responses
from cloze.objectives.salient_spans import SalientSpans
from cloze.objectives.skip_gram import SkipGram
from cloze.objectives.span_boundary import SpanBoundary
from cloze.objectives.span_corruption import SpanCorruption
from cloze.objectives.supervised import Supervised
from cloze.objectives.ul2 import UL2
from cloze.objectives.unilm import UniLM
from cloze.options import suggest

__all__ = ["OBJECTIVES", "Objective", "Term", "build", "check"]

OBJECTIVES = {
    "bart": Bart,
    "bidirectional_lm": BidirectionalLM,
    "causal_lm": CausalLM,
    "corrective_lm": CorrectiveLM,
    "distillation": DistilledMaskedLM,
    "denoising": Denoising,
    "glove": GloVe,
    "masked_lm": MaskedLM,
    "permutation_lm": PermutationLM,
    "replaced_tokens": ReplacedTokens,
    "prefix_lm": PrefixLM,
    "responses": Responses,
    "salient_spans": SalientSpans,
    "skip_gram": SkipGram,
    "span_boundary": SpanBoundary,
    "span_corruption": SpanCorruption,
    "supervised": Supervised,
    "ul2": UL2,
    "unilm": UniLM,
}


def check(config):
    """Refuses what an objective cannot do with any tokenizer, before one is made; an unknown name passes.

    Raises:
        ConfigError: what is missing and how to get it.
    """
    if config.objective.name in OBJECTIVES:
        OBJECTIVES[config.objective.name].check(config)


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
    made = objective.build(config, tables, model_config)
    if made.rows.kind == "documents" and model_config.prompt_length:
        raise ConfigError(
            "data.packing=documents puts several texts into a row, and a prompt (finetune.method=prompt or p_tuning) "
            "is in front of one: set data.packing=windows"
        )
    return made


def _families(architectures):
    """Model families with a published size of one of these architectures."""
    from cloze.models.config import families, presets  # only for a message: models are not needed to build an objective

    fits = {name: any(size["architecture"] in architectures for size in presets(name).values()) for name in families()}
    return [name for name, suits in fits.items() if suits]
