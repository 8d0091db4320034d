"""Cases of BERT, RoBERTa, DistilBERT, ELECTRA, ALBERT and ModernBERT.

Odd shapes have an odd number of heads of odd size (even where they rotate), a feed-forward that is no multiple of the
width, and an odd length.
"""

import numpy as np

from tests.parity.harness import Case

_SHAPES = {  # (settings, length of a row)
    "tiny": (dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96), 14),
    "odd": (dict(hidden_size=35, num_hidden_layers=2, num_attention_heads=5, intermediate_size=54), 13),
}
_DISTILBERT = {  # its own names of settings
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
}
_CLASSIFIERS = ("ForSequenceClassification", "ForMultipleChoice", "ForTokenClassification", "ForQuestionAnswering")
_HEADS = {
    "Bert": ("ForPreTraining", "ForMaskedLM", "Model", "ForNextSentencePrediction", *_CLASSIFIERS),
    "Roberta": ("ForMaskedLM", "Model", *_CLASSIFIERS),
    "DistilBert": ("ForMaskedLM", "Model", *_CLASSIFIERS),
    "Electra": ("ForPreTraining", "ForMaskedLM", "Model", *_CLASSIFIERS),
    "Albert": ("ForPreTraining", "ForMaskedLM", "Model", *_CLASSIFIERS),
    "ModernBert": ("ForMaskedLM", "Model", *_CLASSIFIERS),
}
_MODERNBERT = {  # padding is token 1; windows are shorter than rows
    "tiny": dict(num_hidden_layers=5, local_attention=6, pad_token_id=1),
    "odd": dict(
        hidden_size=30, num_hidden_layers=3, local_attention=8, global_attn_every_n_layers=2, norm_eps=1e-3,
        global_rope_theta=900.0, local_rope_theta=30.0, pad_token_id=1,
    ),
}  # fmt: skip
_TWO_LABELS = ("ForPreTraining", "ForQuestionAnswering")  # classes that take no other number


def _case(prefix, head, shape, variant="", padding="right", inputs=None, batch=None, ignored=(), **config):
    """One case; `config` changes settings of the shape."""
    sizes, length = _SHAPES[shape]
    sizes = {**sizes, "max_position_embeddings": length + 6}
    if prefix in ("Electra", "Albert"):
        sizes["embedding_size"] = {"tiny": 24, "odd": 11}[shape]
    if prefix == "ModernBert":
        sizes |= _MODERNBERT[shape]
    if head in _TWO_LABELS:
        sizes["num_labels"] = 2
    if prefix == "DistilBert":
        sizes = {_DISTILBERT.get(key, key): value for key, value in sizes.items()}
    return Case(
        f"{prefix}{head}",
        f"{shape}{variant and ', '}{variant}",
        {**sizes, **config},
        length=length,
        token_types=0 if prefix in ("DistilBert", "ModernBert") else config.get("type_vocab_size", 2),
        padding=padding,
        inputs=inputs or (lambda inputs, rng: inputs),
        batch=batch or (lambda batch, inputs: batch),
        gradients=shape == "tiny" and head == "ForMaskedLM",
        bfloat16=shape == "tiny" and head == "ForMaskedLM",
        ignored=ignored,
    )


def _padding_tokens(inputs, rng):
    """RoBERTa counts positions by the padding token, 1, not by the mask."""
    return {**inputs, "input_ids": np.where(inputs["attention_mask"] == 0, 1, inputs["input_ids"])}


def _counted_positions(batch, inputs):
    positions = np.maximum(np.cumsum(batch["segments"], axis=1) - 1, 0)
    return {**batch, "positions": positions.astype(np.int32)}


def _untied(prefix, dead_bias=None):
    """A head over the vocabulary with a matrix of its own.

    Where there are two biases, transformers then adds the decoder's; it keeps the other and never reads it.
    """
    ignored = () if dead_bias is None else (dead_bias,)
    return _case(prefix, "ForMaskedLM", "odd", "untied", ignored=ignored, tie_word_embeddings=False)


CASES = [
    *(_case(prefix, head, shape) for prefix, heads in _HEADS.items() for head in heads for shape in _SHAPES),
    _untied("Bert", "cls.predictions.bias"),
    _untied("Roberta", "lm_head.bias"),
    _untied("DistilBert"),
    _untied("Electra"),
    _untied("Albert", "predictions.bias"),
    _untied("ModernBert"),
    _case(
        "ModernBert", "ForMaskedLM", "odd", "biases, tanh GELU", attention_bias=True, mlp_bias=True, norm_bias=True,
        classifier_bias=True, hidden_activation="gelu_new", classifier_activation="gelu_new",
    ),
    _case("ModernBert", "ForMaskedLM", "odd", "padded at the left", padding="left"),
    _case("ModernBert", "ForSequenceClassification", "odd", "mean of the row", classifier_pooling="mean"),
    _case("Bert", "ForMaskedLM", "odd", "tanh GELU", hidden_act="gelu_new", layer_norm_eps=1e-3),
    _case("Bert", "ForMaskedLM", "odd", "padded at the left, six types", padding="left", type_vocab_size=6),
    _case("Bert", "ForSequenceClassification", "odd", "regression", num_labels=1),
    _case("Bert", "ForPreTraining", "odd", "whole rows", padding="none"),
    _case(
        "Roberta", "ForMaskedLM", "odd", "padded at the left", padding="left", inputs=_padding_tokens,
        batch=_counted_positions,
    ),
    _case("Roberta", "Model", "odd", "padding token 4, one type", pad_token_id=4, type_vocab_size=1),
    _case("Roberta", "ForSequenceClassification", "odd", "relu", hidden_act="relu"),
    _case("DistilBert", "ForMaskedLM", "odd", "relu", activation="relu", sinusoidal_pos_embds=True),
    _case("Electra", "ForPreTraining", "odd", "one width, relu", embedding_size=35, hidden_act="relu"),
    _case("Electra", "ForMaskedLM", "odd", "one width", embedding_size=35),
    _case("Electra", "ForMaskedLM", "odd", "wide embeddings", embedding_size=40),
    _case("Electra", "ForMultipleChoice", "odd", "tanh summary", summary_activation="tanh"),
    _case("Electra", "ForSequenceClassification", "odd", "relu", hidden_act="relu"),
    _case("Albert", "ForPreTraining", "odd", "exact GELU, five layers", hidden_act="gelu", num_hidden_layers=5),
]  # fmt: skip
