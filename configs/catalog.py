"""All experiments of this folder, each at all its sizes: what tests load and plans are made of."""

import importlib
import pathlib
from collections.abc import Iterator
from typing import Any

from cloze.configs import composites, decoders, encoder_decoders, encoders, xlnet

SHARED = (
    "__init__", "base", "families", "catalog", "baselines", "composites", "encoders", "decoders", "encoder_decoders",
    "finetuning",
)  # fmt: skip
STEMS = sorted(p.stem for p in pathlib.Path(__file__).parent.glob("*.py") if p.stem not in (*SHARED, "demo"))
SIZES = {
    "bert": encoders.BERT_SIZES,
    "roberta": encoders.ROBERTA_SIZES,
    "deberta": encoders.DEBERTA_SIZES,
    "modernbert": encoders.MODERNBERT_SIZES,
    "spanbert": encoders.SPANBERT_SIZES,
    "unilm": encoders.UNILM_SIZES,
    "gpt2": decoders.GPT2_SIZES,
    "t5": encoder_decoders.T5_SIZES,
    "t5_v1_1": encoder_decoders.T5_V1_1_SIZES,
    "bart": encoder_decoders.BART_SIZES,
    "transformer": encoder_decoders.TRANSFORMER_SIZES,
    "gpt3": decoders.GPT3_SIZES,
    "electra": composites.ELECTRA_SIZES,
    "deberta_v3": composites.DEBERTA_V3_SIZES,
    "coco_lm": composites.COCO_LM_SIZES,
    "albert": encoders.ALBERT_SIZES,
    "llama": decoders.LLAMA_SIZES,
    "pythia": decoders.PYTHIA_SIZES,
    "gemma": decoders.GEMMA_SIZES,
    "qwen2": decoders.QWEN2_SIZES,
    "qwen3": decoders.QWEN3_SIZES,
    "olmo2": decoders.OLMO2_SIZES,
    "gemma2": decoders.GEMMA2_SIZES,
    "gemma3": decoders.GEMMA3_SIZES,
    "xlnet": xlnet.SIZES,
}  # {stem: {size: what differs}} of those that take `size`
LONGER = {"bert": ("size=base,length=512", "size=large,length=512"), "bert_base": ("length=512",)}  # second phases
NEEDS_A_RUN = ("distilbert",)  # of another experiment


def load(stem: str, arguments: str = "") -> Any:
    """The configuration of an experiment.

    Args:
        stem: name of its file, without ".py".
        arguments: the text after the colon of --config.
    """
    return importlib.import_module(f"cloze.configs.{stem}").get_config(arguments)


def full_sizes() -> Iterator[tuple[str, str]]:
    """(stem, arguments) of each experiment at each of its sizes and lengths of rows."""
    for stem in STEMS:
        sizes = {**SIZES, "t5_salient_spans": encoder_decoders.SALIENT_SIZES}.get(stem)
        for arguments in (*(f"size={size}" for size in sizes or ()), *LONGER.get(stem, ())):
            yield stem, arguments
        if sizes is None:
            yield stem, ""
