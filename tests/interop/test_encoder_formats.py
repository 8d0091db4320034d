"""What the encoders' config.json files say, and what of it is refused because we would compute something else."""

import dataclasses

import pytest

from cloze import models
from cloze.errors import ConfigError
from cloze.interop import formats, settings
from tests.interop import fakes


def read(model_type, class_name, **keys):
    found = {"model_type": model_type, "architectures": [class_name], **keys}
    return settings.read(found, ())[2]


@pytest.mark.parametrize(
    "model_type, class_name, keys",
    [
        ("roberta", "RobertaForMaskedLM", {"hidden_act": "relu"}),
        ("roberta", "RobertaModel", {"pad_token_id": None}),
        ("electra", "ElectraForMaskedLM", {"hidden_act": "gelu_new"}),
        ("electra", "ElectraForMultipleChoice", {"summary_type": "last"}),
        ("electra", "ElectraForMultipleChoice", {"summary_use_proj": False}),
        ("electra", "ElectraForMultipleChoice", {"summary_activation": None}),
        ("albert", "AlbertModel", {"embedding_size": 4096}),
        ("albert", "AlbertModel", {"num_hidden_groups": 2}),
        ("bert", "BertModel", {"position_embedding_type": "relative_key"}),
        ("bert", "BertModel", {"is_decoder": True}),
        ("modernbert", "ModernBertForMaskedLM", {"classifier_activation": "relu"}),
        ("modernbert", "ModernBertForMaskedLM", {"classifier_bias": True}),
        ("modernbert", "ModernBertForMaskedLM", {"decoder_bias": False}),
    ],
)
def test_what_we_would_compute_otherwise_is_refused(model_type, class_name, keys):
    ((key, value),) = keys.items()
    with pytest.raises(ConfigError, match=f"config.json: {key}={value!r}"):
        read(model_type, class_name, **keys)


def test_what_decides_one_head_is_no_matter_to_another():
    assert read("roberta", "RobertaForSequenceClassification", hidden_act="relu").pooler_activation == "tanh"
    assert read("electra", "ElectraForSequenceClassification", hidden_act="relu").pooler_activation == "gelu"
    assert read("electra", "ElectraForPreTraining", summary_type="last").heads_out == ("rtd",)


@pytest.mark.parametrize(
    "model_type, class_name, keys, pooler, head",
    [
        ("bert", "BertForSequenceClassification", dict(hidden_dropout_prob=0.3), 0.0, 0.3),
        ("bert", "BertForTokenClassification", dict(classifier_dropout=0.0), 0.0, 0.0),
        ("bert", "BertForQuestionAnswering", dict(classifier_dropout=0.3), 0.0, 0.0),
        ("roberta", "RobertaForSequenceClassification", dict(classifier_dropout=0.3), 0.3, 0.3),
        ("roberta", "RobertaForMultipleChoice", dict(classifier_dropout=0.3), 0.0, 0.1),
        ("distilbert", "DistilBertForMultipleChoice", dict(seq_classif_dropout=0.3), 0.0, 0.3),
        ("distilbert", "DistilBertForQuestionAnswering", dict(qa_dropout=0.3), 0.0, 0.3),
        ("distilbert", "DistilBertForTokenClassification", dict(dropout=0.3), 0.0, 0.3),
        ("electra", "ElectraForSequenceClassification", dict(classifier_dropout=0.3), 0.3, 0.3),
        ("electra", "ElectraForMultipleChoice", dict(summary_last_dropout=0.3), 0.0, 0.3),
        ("albert", "AlbertForSequenceClassification", dict(classifier_dropout_prob=0.3), 0.0, 0.3),
        ("modernbert", "ModernBertForTokenClassification", dict(classifier_dropout=0.3), 0.0, 0.3),
    ],
)
def test_dropout_of_a_head_is_that_of_the_class_and_survives(model_type, class_name, keys, pooler, head):
    config = read(model_type, class_name, **keys)
    assert (config.head_dropout, config.pooler_dropout) == (head, pooler)
    written = settings.write(formats.get(model_type), class_name, config, ())
    again = settings.read(written, ())[2]
    assert (again.head_dropout, again.pooler_dropout) == (head, pooler)


def test_layers_of_modernbert_in_old_and_new_files():
    old = {"global_attn_every_n_layers": 2, "global_rope_theta": 900, "local_rope_theta": 30}
    thetas = {"full_attention": 900, "sliding_attention": 30}
    new = {
        "layer_types": [("full_attention", "sliding_attention")[i % 2] for i in range(5)],
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in thetas.items()},
    }
    for keys in (old, new):
        config = read("modernbert", "ModernBertModel", num_hidden_layers=5, local_attention=10, **keys)
        blocks = [config.block(layer) for layer in range(5)]
        assert [block.window for block in blocks] == [0, 6, 0, 6, 0]  # five to either side, and its own
        assert [block.positions.rope_theta for block in blocks] == [900, 30, 900, 30, 900]
        written = settings.write(formats.get("modernbert"), "ModernBertModel", config, ())
        assert written["local_attention"] == 10 and settings.read(written, ())[2] == config
    silent = read("modernbert", "ModernBertModel")
    assert silent == dataclasses.replace(models.resolve({"family": "modernbert", "preset": "base"}), heads_out=())


def test_positions_of_roberta_start_after_its_padding_token():
    config = read("roberta", "RobertaModel", max_position_embeddings=514)
    assert (config.position_offset, config.max_positions) == (2, 512)
    shifted = dataclasses.replace(config, position_offset=5)
    written = settings.write(formats.get("roberta"), "RobertaModel", shifted, ())
    assert (written["pad_token_id"], written["max_position_embeddings"]) == (4, 517)
    with pytest.raises(ConfigError, match="pad_token_id=-1"):  # an offset that no padding token gives
        none = dataclasses.replace(config, position_offset=0)
        settings.write(formats.get("roberta"), "RobertaModel", none, ())


@pytest.mark.parametrize("model_type, class_name", [("bert", "BertForMaskedLM"), ("roberta", "RobertaForMaskedLM")])
def test_an_untied_head_has_the_bias_of_its_decoder(model_type, class_name):
    """The other one is in transformers' files, too, and takes no part in anything."""
    known = formats.get(model_type)
    tied = fakes.tiny(known, class_name)
    names = [
        fakes.tensors(known, class_name, dataclasses.replace(tied, tie_embeddings=value)) for value in (True, False)
    ]
    added, gone = set(names[1]) - set(names[0]), set(names[0]) - set(names[1])
    assert [name.rpartition(".decoder.")[2] for name in sorted(added)] == ["bias", "weight"]
    assert gone == {name.replace(".decoder", "") for name in added if name.endswith("bias")}
