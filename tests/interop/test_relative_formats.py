"""config.json of DeBERTa, XLNet and FlauBERT: what is read, and what is refused by name."""

import dataclasses

import pytest

from cloze import models
from cloze.errors import ConfigError
from cloze.interop import formats, settings

_DEBERTA = dict(
    model_type="deberta", architectures=["DebertaForMaskedLM"], relative_attention=True, position_biased_input=False,
    pos_att_type="c2p|p2c", max_relative_positions=-1,
)  # fmt: skip
_V3 = _DEBERTA | dict(
    model_type="deberta-v2", architectures=["DebertaV2ForMaskedLM"], hidden_size=768, num_hidden_layers=12,
    num_attention_heads=12, intermediate_size=3072, position_buckets=256, norm_rel_ebd="layer_norm",
    share_att_key=True, pos_att_type="p2c|c2p", pooler_hidden_size=768,
)  # fmt: skip
_XLNET = dict(model_type="xlnet", architectures=["XLNetLMHeadModel"])
_XLNET_ROW = dict(model_type="xlnet", architectures=["XLNetForSequenceClassification"])
_FLAUBERT = dict(model_type="flaubert", architectures=["FlaubertWithLMHeadModel"])


@pytest.mark.parametrize(
    "described, family, preset, changes",
    [
        (_DEBERTA, "deberta", "base", {"enhanced_decoder": 0}),
        (_V3, "deberta", "v3_base", {"heads_out": ("mlm",)}),
        (_XLNET, "xlnet", "large", {}),
        (
            _FLAUBERT | dict(vocab_size=68729, emb_dim=768, n_heads=12, layer_norm_eps=1e-6),
            "flaubert", "base_cased", {},
        ),
    ],
)  # fmt: skip
def test_the_released_settings_are_the_presets(described, family, preset, changes):
    read = settings.read(described, frozenset())[2]
    expected = models.resolve({"family": family, "preset": preset}, **changes)
    for field in dataclasses.fields(expected):
        if field.name not in settings.NOT_COMPUTED:
            assert getattr(read, field.name) == getattr(expected, field.name), field.name


@pytest.mark.parametrize(
    "described, named",
    [
        (_DEBERTA | dict(position_biased_input=True), "position_biased_input"),
        ({k: v for k, v in _DEBERTA.items() if k != "position_biased_input"}, "position_biased_input"),
        (_DEBERTA | dict(relative_attention=False), "relative_attention"),
        (_DEBERTA | dict(pos_att_type="c2p"), "pos_att_type"),
        (_DEBERTA | dict(pos_att_type=["c2p", "p2c", "p2p"]), "pos_att_type"),
        (_DEBERTA | dict(talking_head=True), "talking_head"),
        (_DEBERTA | dict(embedding_size=128), "embedding_size"),
        (_V3 | dict(conv_kernel_size=3), "conv_kernel_size"),
        (_V3 | dict(attention_head_size=32), "attention_head_size"),
        (_XLNET | dict(attn_type="uni"), "attn_type"),
        (_XLNET | dict(bi_data=True), "bi_data"),
        (_XLNET | dict(clamp_len=100), "clamp_len"),
        (_XLNET_ROW | dict(summary_type="mean"), "summary_type"),
        (_XLNET_ROW | dict(summary_activation=""), "summary_use_proj"),
        (_FLAUBERT | dict(architectures=["FlaubertForMultipleChoice"]), "FlaubertForMultipleChoice"),
        (_FLAUBERT | dict(causal=True), "causal"),
        (_FLAUBERT | dict(n_langs=2), "n_langs"),
    ],
)
def test_what_we_cannot_compute_is_refused_by_name(described, named):
    with pytest.raises(ConfigError, match=named):
        settings.read(described, frozenset())


@pytest.mark.parametrize("model_type", ["deberta", "deberta-v2", "xlnet", "flaubert"])
def test_every_class_writes_what_it_reads(model_type):
    """Settings of a class at its own defaults survive writing and reading."""
    known = formats.get(model_type)
    given = {"deberta": _DEBERTA, "deberta-v2": _V3, "xlnet": _XLNET, "flaubert": _FLAUBERT}[model_type]
    for class_name in known.classes:
        first = settings.read(given | {"architectures": [class_name]}, frozenset())[2]
        written = settings.write(known, class_name, first, frozenset())
        assert settings.read(written, frozenset())[1:] == (class_name, first)


def test_a_model_with_the_enhanced_decoder_has_no_place_in_transformers():
    config = models.resolve({"family": "deberta", "preset": "base"}, heads_out=("mlm",))
    with pytest.raises(ConfigError, match="enhanced_decoder"):
        settings.write(formats.get("deberta"), "DebertaForMaskedLM", config, frozenset())
