"""LoRA's factors go to peft's directories and back; what they add is the same number by number."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cloze import models
from cloze.errors import ConfigError, DataError
from cloze.interop import formats, peft
from cloze.models import names
from cloze.models.adapted import Adapted
from cloze.models.low_rank import Lora
from tests.interop import fakes

TARGETS = ((r".*/layers/1/attention/value/kernel", False), (r".*/(query|value|up)/kernel", True), (r".*", False))
CLASSES = {
    "bert": "BertForSequenceClassification",
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "t5": "T5ForConditionalGeneration",
    "deberta": "DebertaModel",
}


def quiet(line):
    pass


def adapted(model_type, targets=TARGETS, class_name=None, **changes):
    """(Lora, ModelConfig, stored parameters)."""
    class_name = class_name or CLASSES[model_type]
    config = fakes.tiny(formats.get(model_type), class_name, **changes)
    lora = Lora(3, 6.0, targets)
    model = Adapted(models.build(config), (lora,))
    rng = np.random.default_rng(0)
    flat = {n: rng.normal(size=shape).astype(np.float32) for n, shape in models.parameters(model).shapes.items()}
    for name in flat:  # as factors of layers that are not adapted begin and stay
        if name == "lora/encoder/layers/attention/value/b" or name == "lora/decoder/layers/attention/value/b":
            flat[name][1] = 0
    return lora, config, flat


def deltas(lora, flat):
    """{(kernel, layer): what is added}, of layers that are adapted."""
    found = {}
    for kernel, chosen in peft.adapted_kernels(lora.targets, {n: x.shape for n, x in flat.items()}).items():
        for layer in np.flatnonzero(chosen):
            a, b = (flat[n][layer] if names.is_stacked(kernel) else flat[n] for n in peft.factors_of(kernel))
            found[kernel, int(layer)] = lora.alpha / lora.rank * a @ b
    return found


@pytest.mark.parametrize("model_type", CLASSES)
def test_there_and_back(model_type, tmp_path):
    lora, config, flat = adapted(model_type)
    peft.save_lora(tmp_path / "out", config, names.unflatten(flat), lora, report=quiet)
    again, tree = peft.load_lora(tmp_path / "out", config)
    assert (again.rank, again.alpha) == (3, 6.0)
    kernels = {name: leaf for name, leaf in flat.items() if not name.startswith("lora/")}
    expected, got = deltas(lora, flat), deltas(again, kernels | names.flatten(tree))
    assert set(got) == set(expected)
    assert {layer for kernel, layer in got if kernel.endswith("attention/value/kernel") and "cross" not in kernel} == {
        0
    }
    for key, delta in expected.items():
        np.testing.assert_array_equal(got[key], delta)
    # What was read is what such a model stores.
    assert models.parameters(Adapted(models.build(config), (again,))).shapes == {
        name: leaf.shape for name, leaf in (kernels | names.flatten(tree)).items()
    }


def test_the_file_is_pefts(tmp_path):
    lora, config, flat = adapted("bert")
    written = dict(modules=("classifier",), base="here/bert", report=quiet)
    peft.save_lora(tmp_path / "out", config, names.unflatten(flat), lora, **written)
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    path = "base_model.model.bert.encoder.layer.1.attention.self.query"
    for letter in "AB":
        ours = flat[f"lora/encoder/layers/attention/query/{letter.lower()}"][1]
        np.testing.assert_array_equal(tensors[f"{path}.lora_{letter}.weight"], ours.T)
    np.testing.assert_array_equal(tensors["base_model.model.classifier.weight"], flat["classifier/kernel"].T)
    assert not any("layer.1.attention.self.value" in name for name in tensors)
    settings = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    stated = dict(peft_type="LORA", r=3, lora_alpha=6.0, modules_to_save=["classifier"], fan_in_fan_out=False)
    assert {key: settings[key] for key in stated} == stated
    assert settings["base_model_name_or_path"] == "here/bert"
    assert "bert.encoder.layer.0.intermediate.dense" in settings["target_modules"]
    _, tree = peft.load_lora(tmp_path / "out", config)
    for name in ("classifier/kernel", "classifier/bias"):
        np.testing.assert_array_equal(names.flatten(tree)[name], flat[name])
    # Whatever the rules say, what the model computes is written.
    flat = flat | {"lora/encoder/layers/attention/value/b": np.ones((2, 3, 32), np.float32)}
    peft.save_lora(tmp_path / "more", config, names.unflatten(flat), lora, report=quiet)
    tensors = load_file(tmp_path / "more" / "adapter_model.safetensors")
    assert tensors["base_model.model.bert.encoder.layer.1.attention.self.value.lora_B.weight"].all()


def test_a_fused_module_has_a_block_of_ranks_for_each_kernel(tmp_path):
    """B A of GPT's c_attn [D, 3D] is the three kernels' products side by side, zeros where one is not adapted."""
    lora, config, flat = adapted("gpt2")
    peft.save_lora(tmp_path / "out", config, names.unflatten(flat), lora, report=quiet)
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    settings = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert settings["fan_in_fan_out"]
    expected = deltas(lora, flat)
    for layer in range(2):
        path = f"transformer.h.{layer}.attn.c_attn"
        a, b = (tensors[f"base_model.model.{path}.lora_{x}.weight"] for x in "AB")
        assert a.shape == (9, 32) and b.shape == (96, 9) and not a[3:6].any()
        ranked, alphas = (
            {k.replace("\\", ""): v for k, v in settings[f"{x}_pattern"].items()} for x in ("rank", "alpha")
        )
        scale = alphas.get(path, 6.0) / ranked.get(path, 3)
        query, key, value = np.split((scale * b @ a).T, 3, axis=1)
        np.testing.assert_allclose(query, expected["decoder/layers/attention/query/kernel", layer], atol=1e-4)
        assert not key.any() and value.any() == (layer == 0)


@pytest.mark.parametrize("trained", ["", "query"])
def test_kernels_of_a_fused_module_that_have_not_moved_yet_stay_adapted(trained, tmp_path):
    """lora_B begins at zero, which does not tell whose a rank is."""
    lora, config, flat = adapted("gpt2")
    flat = {n: np.zeros_like(x) if n.endswith("/b") and trained not in n.split("/") else x for n, x in flat.items()}
    peft.save_lora(tmp_path / "out", config, names.unflatten(flat), lora, report=quiet)
    again, tree = peft.load_lora(tmp_path / "out", config)
    assert (again.rank, again.alpha) == (3, 6.0)
    read = {name: leaf for name, leaf in flat.items() if not name.startswith("lora/")} | names.flatten(tree)
    assert deltas(again, read).keys() == deltas(lora, flat).keys()
    for kernel, layer in deltas(lora, flat):
        for name in peft.factors_of(kernel):
            np.testing.assert_array_equal(read[name][layer], flat[name][layer])


def test_a_fused_module_that_peft_has_not_trained_yet_adapts_all_of_its_kernels(tmp_path):
    _, config, _ = adapted("gpt2")
    path, a = "base_model.model.transformer.h.0.attn.c_attn", np.ones((2, 32), np.float32)
    made = {f"{path}.lora_A.weight": a, f"{path}.lora_B.weight": np.zeros((96, 2), np.float32)}
    save_file(made, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps(dict(peft_type="LORA", r=2, lora_alpha=8)))
    lora, tree = peft.load_lora(tmp_path, config)
    assert (lora.rank, lora.alpha) == (2, 8.0)
    for name in ("query", "key", "value"):
        factor = names.flatten(tree)[f"lora/decoder/layers/attention/{name}/a"]
        np.testing.assert_array_equal(factor[0], a.T)
        assert not factor[1].any()


def test_one_piece_for_a_fused_module_other_ranks_and_scales(tmp_path):
    """As peft itself trains c_attn; ranks are filled up, scales are brought to one."""
    _, config, _ = adapted("gpt2")
    rng = np.random.default_rng(1)
    path = "base_model.model.transformer.h.{}.{}"
    made = {}
    for module, outputs, rank in (("attn.c_attn", 96, 2), ("mlp.c_proj", 32, 4)):
        wide = 128 if "mlp" in module else 32
        made[path.format(1, f"{module}.lora_A.weight")] = rng.normal(size=(rank, wide)).astype(np.float32)
        made[path.format(1, f"{module}.lora_B.weight")] = rng.normal(size=(outputs, rank)).astype(np.float32)
    save_file(made, tmp_path / "adapter_model.safetensors")
    stated = dict(peft_type="LORA", r=2, lora_alpha=8, rank_pattern={"c_proj": 4}, alpha_pattern={"mlp.c_proj": 2})
    (tmp_path / "adapter_config.json").write_text(json.dumps(stated))
    lora, tree = peft.load_lora(tmp_path, config)
    shapes = models.parameters(models.build(config)).shapes
    got = deltas(lora, {name: np.zeros(shape) for name, shape in shapes.items()} | names.flatten(tree))
    joined = np.concatenate([got[f"decoder/layers/attention/{n}/kernel", 1] for n in ("query", "key", "value")], axis=1)
    for module, delta, scale in (
        ("attn.c_attn", joined, 4.0),
        ("mlp.c_proj", got["decoder/layers/ffn/down/kernel", 1], 0.5),
    ):
        a, b = (made[path.format(1, f"{module}.lora_{x}.weight")] for x in "AB")
        np.testing.assert_allclose(delta, scale * (b @ a).T, rtol=1e-4, atol=1e-5)
    assert len(got) == 4 and lora.rank == 4


@pytest.fixture(scope="module")
def bert():
    return adapted("bert")


@pytest.mark.parametrize(
    "stated, message",
    [
        (dict(peft_type="PREFIX_TUNING"), "peft_type='PREFIX_TUNING' cannot be read"),
        (dict(use_dora=True), "and lora_magnitude_vector"),
        (dict(bias="all"), "bias='all' is not supported, expected 'none'"),
        (dict(init_lora_weights="pissa"), "init_lora_weights='pissa' may have changed the base"),
        (dict(init_lora_weights="olora"), "supported are True, False, gaussian, eva, orthogonal"),
        (dict(init_lora_weights="pissa_niter_16"), "path_initial_model_for_weight_conversion"),
        (dict(layer_replication=[[0, 2]]), "layer_replication=.*is not supported"),
        (dict(trainable_token_indices=[3]), "trainable_token_indices=.*might change"),
        (dict(a_key_of_next_year=0.5), "a_key_of_next_year=0.5 is not supported"),
    ],
)
def test_other_adapters_are_refused(bert, tmp_path, stated, message):
    lora, config, flat = bert
    peft.save_lora(tmp_path / "out", config, names.unflatten(flat), lora, report=quiet)
    file = tmp_path / "out" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | stated))
    with pytest.raises(ConfigError, match=message):
        peft.load_lora(tmp_path / "out", config, base=dict)


def test_what_says_how_an_adapter_was_made_changes_nothing(bert, tmp_path):
    lora, config, flat = bert
    peft.save_lora(tmp_path / "out", config, names.unflatten(flat), lora, report=quiet)
    _, expected = peft.load_lora(tmp_path / "out", config)
    file = tmp_path / "out" / "adapter_config.json"
    stated = dict(
        init_lora_weights="gaussian", lora_dropout=0.3, peft_version="0.99", loftq_config={}, a_key_of_next_year=None
    )
    file.write_text(json.dumps(json.loads(file.read_text()) | stated))
    _, tree = peft.load_lora(tmp_path / "out", config)
    for name, leaf in names.flatten(expected).items():
        np.testing.assert_array_equal(names.flatten(tree)[name], leaf)


def test_a_table_that_is_the_head_as_well_is_not_read_alone(tmp_path):
    """peft's model keeps the old table in its head; a class without such a head has no second use of it."""
    lora, config, flat = adapted("gpt2")
    peft.save_lora(tmp_path / "out", config, names.unflatten(flat), lora, report=quiet)
    file = tmp_path / "out" / "adapter_model.safetensors"
    table = np.ones((config.vocab_size, config.width), np.float32)
    save_file(load_file(file) | {"base_model.model.transformer.wte.weight": table}, file)
    with pytest.raises(ConfigError, match="transformer.wte.weight was trained whole .*untie"):
        peft.load_lora(tmp_path / "out", config)
    _, tree = peft.load_lora(tmp_path / "out", config, "GPT2ForSequenceClassification")
    np.testing.assert_array_equal(tree["token"]["embedding"][: config.vocab_size], table)


def test_files_that_do_not_fit_the_model(bert, tmp_path):
    lora, config, flat = bert
    peft.save_lora(tmp_path / "out", config, names.unflatten(flat), lora, report=quiet)
    with pytest.raises(ConfigError, match="already and not empty"):
        peft.save_lora(tmp_path / "out", config, names.unflatten(flat), lora, report=quiet)
    with pytest.raises(ConfigError, match="BertModel has no place for classifier"):
        modules = dict(modules=("classifier",), class_name="BertModel")
        peft.save_lora(tmp_path / "other", config, names.unflatten(flat), lora, report=quiet, **modules)
    assert not (tmp_path / "other").exists()
    with pytest.raises(ConfigError, match="is no linear map of transformers' .* the adapter is of another model"):
        peft.load_lora(tmp_path / "out", adapted("llama")[1])
    with pytest.raises(ConfigError, match=r"expected A \[rank, 16\]"):
        peft.load_lora(tmp_path / "out", fakes.tiny(formats.get("bert"), CLASSES["bert"], width=16, head_dim=4))
    (tmp_path / "out" / "adapter_model.safetensors").rename(tmp_path / "out" / "adapter_model.bin")
    with pytest.raises(DataError, match="a pickle"):
        peft.load_lora(tmp_path / "out", config)
    lora, config, flat = adapted("gpt2", ((r"classifier/kernel", True), (r".*", False)), heads_out=("class",))
    with pytest.raises(ConfigError, match="classifier/kernel: transformers' GPT2Model has no linear map"):
        peft.save_lora(tmp_path / "gpt2", config, names.unflatten(flat), lora, "GPT2Model", report=quiet)


def test_arrays_of_three_axes_are_no_linear_maps(tmp_path):
    """XLNet's projections."""
    lora, config, flat = adapted("xlnet", class_name="XLNetModel")
    with pytest.raises(ConfigError, match="query/kernel.*merge the model instead"):
        peft.save_lora(tmp_path / "out", config, jax.tree.map(np.asarray, names.unflatten(flat)), lora, report=quiet)
