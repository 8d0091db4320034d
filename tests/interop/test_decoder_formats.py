"""What config.json files of decoders and encoder-decoders say, in old and new spellings, and what of it is refused."""

import dataclasses

import numpy as np
import pytest

from cloze import interop, models
from cloze.errors import ConfigError
from cloze.interop import formats, settings
from tests.interop import fakes

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def read(model_type, class_name, tensors=(), **keys):
    found = {"model_type": model_type, "architectures": [class_name], **keys}
    return settings.read(found, tensors)[2]


def llama(**keys):
    return read("llama", "LlamaForCausalLM", **keys)


@pytest.mark.parametrize(
    "keys, theta, scaling",
    [
        ({}, 10000.0, ()),
        ({"rope_theta": 5e5, "rope_scaling": None}, 5e5, ()),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, 5e5, ()),
        ({"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **LLAMA3}}, 5e5, (8.0, 1.0, 4.0, 8192.0)),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 9.0, **LLAMA3}}, 9.0, (8.0, 1.0, 4.0, 8192.0)),
        ({"rope_scaling": {"type": "llama3", **LLAMA3}}, 10000.0, (8.0, 1.0, 4.0, 8192.0)),
        ({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2}}, 5e5, (2.0,)),
        (
            {"rope_scaling": {"rope_type": "llama3", **LLAMA3}, "original_max_position_embeddings": 64},
            10000.0,
            (8.0, 1.0, 4.0, 64.0),
        ),
    ],
)
def test_rotary_settings_in_old_and_new_files(keys, theta, scaling):
    config = llama(**keys)
    assert (config.rope_theta, config.rope_scaling) == (theta, scaling)
    written = settings.write(formats.get("llama"), "LlamaForCausalLM", config, ())
    old = {key: value for key, value in written.items() if key != "rope_parameters"}
    new = {key: value for key, value in written.items() if key not in ("rope_theta", "rope_scaling")}
    for spelling in (old, new):
        again = settings.read(spelling, ())[2]
        assert (again.rope_theta, again.rope_scaling) == (theta, scaling)


def test_the_original_length_is_all_positions_where_it_is_not_given():
    scaling = {key: value for key, value in LLAMA3.items() if not key.startswith("original")}
    config = llama(rope_scaling={"rope_type": "llama3", **scaling}, max_position_embeddings=77)
    assert config.rope_scaling[-1] == 77


@pytest.mark.parametrize(
    "model_type, class_name, keys, told",
    [
        ("llama", "LlamaForCausalLM", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope_type 'yarn'"),
        ("llama", "LlamaForCausalLM", {"rope_scaling": {"type": "linear"}}, "rope_type 'linear' lack factor"),
        ("llama", "LlamaForCausalLM", {"rope_parameters": {"rope_type": "llama3", "factor": 2.0}}, "lack low_freq"),
        ("llama", "LlamaForTokenClassification", {"token_classification_bias": False}, "token_classification_bias"),
        ("gemma", "GemmaForCausalLM", {"use_bidirectional_attention": True}, "use_bidirectional_attention=True"),
        (
            "qwen2",
            "Qwen2ForCausalLM",
            {"use_sliding_window": True, "num_hidden_layers": 1, "layer_types": ["chunked_attention"]},
            "layer_types with chunked_attention",
        ),
        ("qwen3", "Qwen3ForCausalLM", {"num_hidden_layers": 2, "layer_types": ["full_attention"]}, "1 entries for 2"),
        ("gemma3_text", "Gemma3ForCausalLM", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping=50.0"),
        ("gpt2", "GPT2DoubleHeadsModel", {"summary_type": "mean"}, "summary_type='mean'"),
        ("openai-gpt", "OpenAIGPTDoubleHeadsModel", {"summary_activation": "tanh"}, "summary_activation='tanh'"),
        ("openai-gpt", "OpenAIGPTLMHeadModel", {"afn": "gelu_new"}, "afn='gelu_new'"),
        ("bart", "BartModel", {"decoder_ffn_dim": 8}, "decoder_ffn_dim=8"),
        ("bart", "BartModel", {"tie_word_embeddings": False}, "tie_word_embeddings=False"),
        ("marian", "MarianMTModel", {"decoder_vocab_size": 8}, "decoder_vocab_size=8"),
        ("marian", "MarianMTModel", {"share_encoder_decoder_embeddings": False}, "share_encoder_decoder_embeddings"),
    ],
)
def test_what_we_would_compute_otherwise_is_refused(model_type, class_name, keys, told):
    with pytest.raises(ConfigError, match=told):
        read(model_type, class_name, **keys)


def test_null_is_not_silence():
    assert read("mistral", "MistralForCausalLM").window == 4096
    assert read("mistral", "MistralForCausalLM", sliding_window=None).window == 0
    assert read("mistral", "MistralForCausalLM").kv_heads == 8
    assert read("mistral", "MistralForCausalLM", num_key_value_heads=None).kv_heads == 32


@pytest.mark.parametrize(
    "keys, windows",
    [
        ({"sliding_window": 7}, [0]),
        ({"sliding_window": 7, "use_sliding_window": True, "max_window_layers": 32}, [0]),
        ({"sliding_window": 7, "use_sliding_window": True, "max_window_layers": 0}, [7]),
        (
            {
                "sliding_window": 7,
                "use_sliding_window": True,
                "layer_types": ["full_attention", "sliding_attention"] * 16,
            },
            [0, 7],
        ),
    ],
)
def test_windows_of_qwen2(keys, windows):
    config = read("qwen2", "Qwen2ForCausalLM", **keys)
    assert [block.window for block in config.blocks] == windows
    again = settings.read(settings.write(formats.get("qwen2"), "Qwen2ForCausalLM", config, ()), ())[2]
    assert again.blocks == config.blocks


@pytest.mark.parametrize(
    "windows, period",
    [("...w", 4), ("w...", 4), ("..w..", 3), ("w.w.w", 2), ("wwww", 1), ("....", 1), ("..w..w..", 3), ("w..ww", 4)],
)
def test_any_list_of_layers_is_read_and_written(windows, period):
    types = ["sliding_attention" if layer == "w" else "full_attention" for layer in windows]
    keys = {"use_sliding_window": True, "sliding_window": 7, "layer_types": types, "num_hidden_layers": len(types)}
    config = read("qwen3", "Qwen3ForCausalLM", **keys)
    assert [config.block(i).window for i in range(config.layers)] == [7 if layer == "w" else 0 for layer in windows]
    assert len(config.blocks) == period
    written = settings.write(formats.get("qwen3"), "Qwen3ForCausalLM", config, ())
    assert written["layer_types"] == types


@pytest.mark.parametrize(
    "model_type, changes, told",
    [
        ("qwen2", {"pattern": ({"window": 3}, {"window": 4})}, "window=4 of layer 1"),
        ("mistral", {"pattern": ({"window": 3}, {})}, "window=4096 of layer 1"),
        ("llama", {"pattern": ({}, {"rope_theta": 5.0})}, "rope_theta=5.0 of layer 1"),
        ("llama", {"positions": "sinusoidal"}, "rotary positions"),
        ("gemma2", {"query_scalar": 2.5}, "scale=.* of layer 0"),
    ],
)
def test_blocks_that_a_class_does_not_know_are_not_written(model_type, changes, told):
    known = formats.get(model_type)
    class_name = next(iter(known.classes))
    with pytest.raises(ConfigError, match=told):
        settings.write(known, class_name, fakes.tiny(known, class_name, **changes), ())


def test_blocks_are_compared_however_a_pattern_spells_them():
    known = formats.get("mistral")
    config = fakes.tiny(known, "MistralForCausalLM", window=3, pattern=({"window": 5}, {"window": 5}))
    assert settings.write(known, "MistralForCausalLM", config, ())["sliding_window"] == 5


def test_rotations_of_gemma_3_in_old_and_new_files():
    """The 4B's."""
    old = {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    new = {
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        }
    }
    sizes = {"sliding_window": 1024, "max_position_embeddings": 131072, "num_hidden_layers": 34}
    expected = models.resolve({"family": "gemma3", "preset": "4b"})
    for keys in (old, new):
        config = read("gemma3_text", "Gemma3ForCausalLM", **sizes, **keys)
        assert config.blocks == expected.blocks
    written = settings.write(formats.get("gemma3_text"), "Gemma3ForCausalLM", config, ())
    assert {key: written[key] for key in (*old, *new)} == old | new


def test_caps_of_gemma_2_are_there_unless_null():
    caps = {"attn_logit_softcapping": None, "final_logit_softcapping": None}
    for keys, expected in (({}, (50.0, 30.0)), (caps, (0.0, 0.0))):
        config = read("gemma2", "Gemma2ForCausalLM", **keys)
        assert (config.attention_softcap, config.logit_cap) == expected
        written = settings.write(formats.get("gemma2"), "Gemma2ForCausalLM", config, ())
        assert tuple(written[key] or 0 for key in caps) == expected


def test_one_word_two_functions():
    """GPT-1 and Gemma have always meant the tanh form by "gelu"."""
    assert read("gemma", "GemmaForCausalLM", hidden_act="gelu").activation == "gelu_tanh"
    assert read("openai-gpt", "OpenAIGPTLMHeadModel", afn="gelu").activation == "gelu_tanh"
    assert llama(hidden_act="gelu").activation == "gelu"


@pytest.mark.parametrize(
    "model_type, class_name, keys, pooler, head",
    [
        ("gpt2", "GPT2ForTokenClassification", {"classifier_dropout": 0.3}, 0.0, 0.3),
        ("gpt2", "GPT2ForSequenceClassification", {"classifier_dropout": 0.3}, 0.0, 0.0),
        ("gpt2", "GPT2DoubleHeadsModel", {"summary_first_dropout": 0.3}, 0.0, 0.3),
        ("openai-gpt", "OpenAIGPTDoubleHeadsModel", {}, 0.0, 0.1),
        ("llama", "LlamaForTokenClassification", {}, 0.0, 0.1),
        ("llama", "LlamaForQuestionAnswering", {}, 0.0, 0.0),
        ("bart", "BartForSequenceClassification", {"classifier_dropout": 0.3}, 0.3, 0.3),
        ("t5", "T5ForTokenClassification", {"classifier_dropout": 0.3}, 0.3, 0.3),
        ("t5", "T5ForQuestionAnswering", {"classifier_dropout": 0.3}, 0.3, 0.0),
    ],
)
def test_dropout_of_a_head_is_that_of_the_class_and_survives(model_type, class_name, keys, pooler, head):
    config = read(model_type, class_name, **keys)
    assert (config.pooler_dropout, config.head_dropout) == (pooler, head)
    again = settings.read(settings.write(formats.get(model_type), class_name, config, ()), ())[2]
    assert again.head_dropout == head


@pytest.mark.parametrize(
    "keys",
    [
        {"rotary_pct": 0.5, "rotary_emb_base": 300},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 300, "partial_rotary_factor": 0.5}},
    ],
)
def test_partial_rotations_of_gpt_neox_in_old_and_new_files(keys):
    config = read("gpt_neox", "GPTNeoXForCausalLM", **keys)
    assert (config.rope_theta, config.rotary_share) == (300.0, 0.5)
    silent = read("gpt_neox", "GPTNeoXForCausalLM")
    assert (silent.rope_theta, silent.rotary_share, silent.norm_position) == (10000.0, 0.25, "parallel")


def test_the_head_of_gpt_neox_goes_by_either_name(tmp_path):
    made = fakes.write(tmp_path / "old", "gpt_neox", "GPTNeoXForCausalLM")
    fakes.write(
        tmp_path / "new", "gpt_neox", "GPTNeoXForCausalLM",
        change={"embed_out.weight": None, "lm_head.weight": made["embed_out.weight"]},
    )  # fmt: skip
    for name in ("old", "new"):
        kernel = interop.load_hf(tmp_path / name)[1]["lm_head"]["kernel"]
        np.testing.assert_array_equal(kernel[:, : len(made["embed_out.weight"])].T, made["embed_out.weight"])


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("ffn", [False, True])
def test_biases_of_llama(attention, ffn):
    config = llama(attention_bias=attention, mlp_bias=ffn)
    assert [config.projection_bias(letter) for letter in "qkvo"] == [attention] * 4 and config.use_bias == ffn
    written = settings.write(formats.get("llama"), "LlamaForCausalLM", config, ())
    assert (written["attention_bias"], written["mlp_bias"]) == (attention, ffn)


def test_what_transformers_cannot_hold_is_not_written():
    known = formats.get("llama")
    with pytest.raises(ConfigError, match="no multiple of model.heads=4"):
        settings.write(known, "LlamaForCausalLM", fakes.tiny(known, "LlamaForCausalLM", width=30), ())
    marian = formats.get("marian")
    papers = fakes.tiny(marian, "MarianMTModel", attention_bias="none")
    with pytest.raises(ConfigError, match="attention_bias='none'"):
        settings.write(marian, "MarianMTModel", papers, ())


def test_marians_bias_over_the_vocabulary_is_ours_where_the_file_has_it(tmp_path):
    for name, has in (("without", False), ("with", True)):
        made = fakes.write(tmp_path / name, "marian", "MarianMTModel", lm_bias=has)
        model, params = interop.load_hf(tmp_path / name)
        assert model.config.lm_bias == has and ("final_logits_bias" in made) == has
        assert ("lm_head" in params) == has
        interop.save_hf(tmp_path / f"{name} again", model.config, params)
        assert interop.load_hf(tmp_path / f"{name} again")[0].config == model.config
    bias = params["lm_head"]["bias"][: model.config.vocab_size]
    np.testing.assert_array_equal(bias, made["final_logits_bias"][0])


def test_tables_of_sinusoids_are_computed_not_read(tmp_path):
    table = np.ones((24, 32), np.float32)
    tables = {f"model.{side}.embed_positions.weight": table for side in ("encoder", "decoder")}
    fakes.write(tmp_path, "marian", "MarianMTModel", change=tables)
    assert interop.read_hf(tmp_path, report=lambda line: None).report.unused == ()


def test_a_tied_table_of_gpt1_goes_by_either_name(tmp_path):
    class_name = "OpenAIGPTDoubleHeadsModel"
    made = fakes.write(tmp_path / "new", "openai-gpt", class_name)
    assert "lm_head.weight" in made and "transformer.tokens_embed.weight" not in made
    changed = {"lm_head.weight": None, "transformer.tokens_embed.weight": made["lm_head.weight"]}
    fakes.write(tmp_path / "old", "openai-gpt", class_name, change=changed)
    tables = [interop.load_hf(tmp_path / name)[1]["token"]["embedding"] for name in ("new", "old")]
    np.testing.assert_array_equal(*tables)
    known = formats.get("openai-gpt")
    untied = dataclasses.replace(fakes.tiny(known, class_name), tie_embeddings=False)
    assert {"lm_head.weight", "transformer.tokens_embed.weight"} <= set(fakes.tensors(known, class_name, untied))
