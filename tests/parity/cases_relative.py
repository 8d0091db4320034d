"""DeBERTa, XLNet and FlauBERT against their PyTorch classes; see tests.parity.harness."""

import numpy as np

from tests.parity.harness import Case

# Rows of the odd shapes are longer than the longest distance that DeBERTa tells apart.
_DEBERTA = dict(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_position_embeddings=32,
    relative_attention=True, position_biased_input=False, pos_att_type=["c2p", "p2c"], type_vocab_size=0,
)  # fmt: skip
_DEBERTA_ODD = dict(
    _DEBERTA, hidden_size=30, num_attention_heads=3, num_hidden_layers=3, intermediate_size=50,
    max_position_embeddings=9, type_vocab_size=2, hidden_act="gelu_new",
    pooler_hidden_act="tanh", pos_att_type="p2c|c2p",
)  # fmt: skip
_V3 = dict(share_att_key=True, norm_rel_ebd="layer_norm", position_buckets=8, max_relative_positions=-1)
_V2_ODD = dict(_DEBERTA_ODD, share_att_key=False, position_buckets=6, max_relative_positions=11)
_SPANS = dict(num_labels=2)
_XLNET = dict(d_model=32, n_layer=2, n_head=4, d_inner=64)
_XLNET_ODD = dict(d_model=42, n_layer=3, n_head=3, d_inner=50, ff_activation="relu", layer_norm_eps=1e-5)
_FLAUBERT = dict(emb_dim=32, n_layers=2, n_heads=4, max_position_embeddings=32, layer_norm_eps=1e-6)
_FLAUBERT_ODD = dict(_FLAUBERT, emb_dim=30, n_layers=3, n_heads=3, gelu_activation=False)


def permuted(context):
    """Inputs for XLNet's two streams, for rows padded at the left.

    `context` places at random have rank 0 and are seen by all, the others have ranks 1, 2, ... in any order. The places
    of the two highest ranks are predicted: transformers lets a query that sees nothing see everything, we do not.
    """

    def inputs(given, rng):
        ranks = np.zeros(given["attention_mask"].shape, np.int32)
        for row, mask in zip(ranks, given["attention_mask"], strict=True):
            places = rng.permutation(np.flatnonzero(mask))
            row[places[context:]] = np.arange(1, len(places) - context + 1)
        seen = (ranks[:, None, :] < ranks[:, :, None]) | (ranks == 0)[:, None, :]
        mapping = np.eye(ranks.shape[1], dtype=np.float32)[np.argsort(ranks, axis=1)[:, -2:]]
        return given | {"perm_mask": (~seen).astype(np.float32), "target_mapping": mapping}

    return inputs


def with_order(context):
    """The same order for our model: a place's rank is how many places beyond the context it sees, itself included."""

    def batch(made, inputs):
        seen = (inputs["perm_mask"] == 0) | np.eye(inputs["perm_mask"].shape[-1], dtype=bool)
        seen &= made["segments"].astype(bool)[:, None, :]
        places = inputs["target_mapping"].argmax(-1)
        ranks = np.maximum(seen.sum(-1) - context, 0)
        return made | {"ranks": ranks.astype(np.int32), "prediction_positions": places.astype(np.int32)}

    return batch


class _NoCache:
    """A cache that holds nothing."""

    def get_seq_length(self):
        return 0

    def __getitem__(self, layer):
        return None


def give_cache(reference):
    """FlauBERT with norms before the sublayers takes layer i of its cache even if there is none, and fails."""

    def put(module, args, kwargs):
        return args, kwargs | {"cache": _NoCache()}

    getattr(reference, "transformer", reference).register_forward_pre_hook(put, with_kwargs=True)


def _each(names, shape, config, **settings):
    """A case of each class; those that score spans have two labels, gradients are those of the tiny language models."""
    found = []
    for name in names:
        checked = shape.startswith("tiny") and ("MaskedLM" in name or "LMHead" in name)
        spans = _SPANS if "QuestionAnswering" in name else {}
        found.append(Case(name, shape, config | spans, gradients=checked, bfloat16=checked, **settings))
    return found


_DEBERTA_HEADS = ("Model", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
_DEBERTA_CLASSES = [f"Deberta{name}" for name in ("ForMaskedLM", *_DEBERTA_HEADS)]
_V2_CLASSES = [f"DebertaV2{name}" for name in ("ForMaskedLM", *_DEBERTA_HEADS, "ForMultipleChoice")]
_XLNET_CLASSES = [
    f"XLNet{name}"
    for name in (
        "LMHeadModel", "Model", "ForSequenceClassification", "ForMultipleChoice", "ForTokenClassification",
        "ForQuestionAnsweringSimple",
    )
]  # fmt: skip
_FLAUBERT_CLASSES = [
    f"Flaubert{name}"
    for name in (
        "WithLMHeadModel", "Model", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnsweringSimple",
    )
]  # fmt: skip
_LEFT = dict(padding="left", token_types=3)

CASES = [
    *_each(_DEBERTA_CLASSES, "tiny", _DEBERTA, padding="none"),
    *_each(_DEBERTA_CLASSES, "odd", _DEBERTA_ODD, length=23, token_types=2),
    Case(
        "DebertaForMaskedLM", "untied", _DEBERTA | {"tie_word_embeddings": False},
        ignored=("cls.predictions.bias",),
    ),
    *_each(_V2_CLASSES, "tiny, v3", _DEBERTA | _V3, padding="none"),
    *_each(_V2_CLASSES, "odd, unshared", _V2_ODD, length=23, token_types=2),
    Case(
        "DebertaV2ForMaskedLM", "odd, v3", _DEBERTA_ODD | _V3, length=37, token_types=2,
    ),
    Case("DebertaV2ForMaskedLM", "no buckets", _DEBERTA | {"share_att_key": True}, length=40),
    *_each(_XLNET_CLASSES, "tiny", _XLNET, **_LEFT),
    *_each(_XLNET_CLASSES, "odd", _XLNET_ODD, length=23, **_LEFT),
    Case("XLNetLMHeadModel", "no segments", _XLNET, padding="none"),
    Case("XLNetLMHeadModel", "untied", _XLNET_ODD | {"tie_word_embeddings": False}, **_LEFT),
    Case(
        "XLNetLMHeadModel", "query stream", _XLNET, **_LEFT, inputs=permuted(1), batch=with_order(1), gradients=True,
    ),
    Case(
        "XLNetLMHeadModel", "query stream, context, odd", _XLNET_ODD, length=23, **_LEFT, inputs=permuted(2),
        batch=with_order(2),
    ),
    Case(
        "XLNetForSequenceClassification", "first, gelu",
        _XLNET | {"summary_type": "first", "summary_activation": "gelu"}, padding="none",
    ),
    Case(
        "XLNetForSequenceClassification", "no projection",
        _XLNET | {"summary_use_proj": False, "summary_activation": ""}, **_LEFT,
    ),
    *_each(_FLAUBERT_CLASSES, "tiny", _FLAUBERT, padding="none"),
    *_each(_FLAUBERT_CLASSES, "odd", _FLAUBERT_ODD, length=23),
    *_each(_FLAUBERT_CLASSES[:3], "norms before", _FLAUBERT | {"pre_norm": True}, prepare=give_cache),
    Case("FlaubertWithLMHeadModel", "untied", _FLAUBERT | {"tie_word_embeddings": False}),
    Case("FlaubertForSequenceClassification", "last", _FLAUBERT | {"summary_type": "last"}, padding="none"),
]  # fmt: skip
