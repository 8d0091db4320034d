"""Reading directories: exact, on any mesh, and with errors that say what to do."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cloze import interop
from cloze.errors import ConfigError, DataError
from cloze.models import names
from cloze.parallel import mesh as meshes
from tests.interop import fakes

EXAMPLES = [
    ("bert", "BertForPreTraining", {}),
    ("bert", "BertForPreTraining", {"tie_embeddings": False}),
    ("bert", "BertModel", {}),
    ("gpt2", "GPT2LMHeadModel", {}),
    ("gpt2", "GPT2LMHeadModel", {"tie_embeddings": False}),
    ("t5", "T5ForConditionalGeneration", {}),
    ("t5", "T5ForConditionalGeneration", {"tie_embeddings": False, "scale_tied_logits": False, "gated": True,
                                          "activation": "gelu_tanh"}),
    ("t5", "T5EncoderModel", {}),
]  # fmt: skip


def flat(params):
    return {name: np.asarray(leaf) for name, leaf in names.flatten(params).items()}


def quiet(line):
    pass


@pytest.mark.parametrize("dtype, shards", [("float32", 1), ("bfloat16", 3)])
@pytest.mark.parametrize("model_type, class_name, changes", EXAMPLES, ids=str)
def test_there_and_back_to_the_bit(tmp_path, model_type, class_name, changes, dtype, shards):
    dtype_of_files = fakes.BFLOAT16 if dtype == "bfloat16" else np.float32
    before = fakes.write(tmp_path / "in", model_type, class_name, dtype_of_files, shards, **changes)
    loaded = interop.read_hf(tmp_path / "in", report=quiet)
    assert not loaded.report.unused and not loaded.report.initialised and loaded.report.used == len(before)
    most = 5_000_000_000 if shards == 1 else 20_000
    written = interop.save_hf(
        tmp_path / "out", loaded.model.config, loaded.params, dtype=dtype, max_shard_bytes=most, report=quiet
    )
    assert written.class_name == class_name and not written.left_out
    after = {}
    for file in (tmp_path / "out").glob("*.safetensors"):
        after |= load_file(file)
        assert shards == 1 or file.stat().st_size < 60_000
    assert sorted(after) == sorted(before)
    for name, array in before.items():
        assert after[name].dtype == array.dtype and after[name].tobytes() == array.tobytes(), name
    again = interop.read_hf(tmp_path / "out", report=quiet)
    assert again.model.config == loaded.model.config


@pytest.mark.parametrize("model_type, class_name", [("bert", "BertForPreTraining"), ("gpt2", "GPT2LMHeadModel")])
def test_a_mesh_holds_the_same_numbers_cut(tmp_path, model_type, class_name):
    fakes.write(tmp_path, model_type, class_name)
    model, plain = interop.load_hf(tmp_path)
    mesh = meshes.make_mesh(dict(data=2, fsdp=2, tensor=2, sequence=1))
    _, cut = interop.load_hf(tmp_path, mesh)
    for (name, one), (_, other) in zip(names.flatten(plain).items(), names.flatten(cut).items(), strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)
    kernel = names.flatten(cut)[f"{model.config.architecture}/layers/ffn/up/kernel"]
    assert kernel.addressable_shards[0].data.shape == (2, 16, 64)
    table = cut["token"]["embedding"]
    assert table.addressable_shards[0].data.shape == (model.config.padded_vocab // 2, 16)
    assert not np.asarray(table)[model.config.vocab_size :].any()  # what pads the vocabulary


def test_bfloat16_parameters(tmp_path):
    fakes.write(tmp_path, "gpt2", "GPT2LMHeadModel")
    model, params = interop.load_hf(tmp_path, dtype="bfloat16")
    assert model.config.dtype == "bfloat16" and {x.dtype for x in jax.tree.leaves(params)} == {np.dtype(fakes.BFLOAT16)}
    _, exact = interop.load_hf(tmp_path)
    for name, leaf in flat(exact).items():
        np.testing.assert_array_equal(flat(params)[name], leaf.astype(fakes.BFLOAT16))


def test_old_spellings_and_bare_bodies_and_repeats(tmp_path):
    """Hub files of 2018: gamma and beta, names without prefix, tied copies, position ids."""
    tensors = fakes.write(tmp_path / "new", "bert", "BertForPreTraining")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in tensors.items()
    }
    old["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
    old["bert.embeddings.position_ids"] = np.arange(24)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text((tmp_path / "new" / "config.json").read_text())
    save_file(old, tmp_path / "old" / "model.safetensors")
    one, other = (interop.read_hf(tmp_path / name, report=quiet) for name in ("new", "old"))
    assert not other.report.unused
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)

    tensors = fakes.write(tmp_path / "gpt", "gpt2", "GPT2LMHeadModel")
    save_file({n.removeprefix("transformer."): a for n, a in tensors.items()}, tmp_path / "gpt" / "model.safetensors")
    _, params = interop.load_hf(tmp_path / "gpt")
    np.testing.assert_array_equal(
        params["token"]["embedding"][:97], tensors["transformer.wte.weight"], err_msg="a bare body"
    )


def test_heads_that_are_not_there_are_drawn_and_told(tmp_path):
    tensors = fakes.write(
        tmp_path, "bert", "BertForMaskedLM", change={"cls.predictions.transform.dense.bias": None, "extra": np.ones(3)}
    )
    lines = []
    loaded = interop.read_hf(tmp_path, heads=("class",), report=lines.append)
    assert loaded.report.initialised == (
        "classifier/bias", "classifier/kernel", "mlm_head/dense/bias", "pooler/dense/bias", "pooler/dense/kernel",
    )  # fmt: skip
    assert loaded.report.unused == ("extra",)
    assert any("mlm_head/dense/bias" in line for line in lines) and any("extra" in line for line in lines)
    again = interop.read_hf(tmp_path, heads=("class",), report=quiet)
    np.testing.assert_array_equal(again.params["classifier"]["kernel"], loaded.params["classifier"]["kernel"])
    assert np.std(loaded.params["classifier"]["kernel"]) > 0
    np.testing.assert_array_equal(
        loaded.params["mlm_head"]["dense"]["kernel"], tensors["cls.predictions.transform.dense.weight"].T
    )


def test_a_head_is_not_mistaken_for_another(tmp_path):
    """A tagger's `classifier` is not read as a classifier of rows, though names and shapes agree."""
    fakes.write(tmp_path, "bert", "BertForTokenClassification")
    loaded = interop.read_hf(tmp_path, heads=("class",), report=quiet)
    assert "classifier/kernel" in loaded.report.initialised


def change_config(path, **keys):
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"model_type": "bart_"}, "unknown model_type='bart_'"),
        ({"model_type": "gtp2"}, "did you mean 'gpt2'"),
        ({"architectures": ["BertForMaskedLm"]}, "did you mean 'BertForMaskedLM'"),
        (
            {"architectures": None, "vocab_size": 99, "num_hidden_layers": 3},
            "`architectures`, and no class fits",
        ),
        ({"hidden_act": "swishish"}, "hidden_act='swishish' is not supported"),
        ({"is_decoder": True}, "is_decoder=True is not supported, expected False"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key'"),
        ({"vocab_size": 99}, r"word_embeddings.weight has the shape \[97, 32\], expected \[99, 32\].*vocab_size=99"),
        ({"intermediate_size": 50}, r"expected \[50, 32\].*intermediate_size=50"),
    ],
)
def test_settings_that_we_cannot_compute(tmp_path, keys, message):
    fakes.write(tmp_path, "bert", "BertForPreTraining")
    change_config(tmp_path, **keys)
    with pytest.raises(ConfigError, match=message):
        interop.load_hf(tmp_path)


@pytest.mark.parametrize("class_name", ["BertForPreTraining", "BertModel", "BertForSequenceClassification"])
def test_without_architectures_the_class_is_the_one_that_fits(tmp_path, class_name):
    fakes.write(tmp_path, "bert", class_name)
    change_config(tmp_path, architectures=None)
    loaded = interop.read_hf(tmp_path)
    assert loaded.report.class_name == class_name and not loaded.report.unused and not loaded.report.initialised


def test_a_body_must_be_whole(tmp_path):
    fakes.write(tmp_path, "bert", "BertForPreTraining")
    change_config(tmp_path, num_hidden_layers=3)
    with pytest.raises(DataError, match=r"lacks 16 parameter.*bert.encoder.layer.2.*attention"):
        interop.load_hf(tmp_path)


def test_tied_tensors_that_differ_are_refused(tmp_path):
    fakes.write(tmp_path, "gpt2", "GPT2LMHeadModel", change={"lm_head.weight": np.ones((97, 32), np.float32)})
    with pytest.raises(ConfigError, match="lm_head.weight is tied to transformer.wte.weight, but their numbers differ"):
        interop.load_hf(tmp_path)


def test_constants_that_are_not_constant_are_refused(tmp_path):
    kind, name = ("bart", "BartForConditionalGeneration"), "final_logits_bias"
    assert name in fakes.write(tmp_path / "zeros", *kind)
    loaded = interop.read_hf(tmp_path / "zeros", report=quiet)
    assert not loaded.report.unused
    fakes.write(tmp_path / "ones", *kind, change={name: np.ones((1, 97), np.float32)})
    with pytest.raises(ConfigError, match=f"{name} must be 0.0 everywhere"):
        interop.load_hf(tmp_path / "ones")


def test_logits_refuse_what_no_table_holds(tmp_path):
    fakes.write(tmp_path, "bert", "BertForMaskedLM")
    model, params = interop.load_hf(tmp_path)
    for ids, message in ((np.ones((1, 25), int), "25 long, the model has 24"), (np.full((1, 4), 97), r"\[0, 97\)")):
        with pytest.raises(ConfigError, match=message):
            interop.logits(model, params, ids, np.ones_like(ids))


def test_a_mesh_that_does_not_divide(tmp_path):
    fakes.write(tmp_path, "gpt2", "GPT2LMHeadModel", width=36, head_dim=9, embedding_width=36)
    mesh = meshes.make_mesh(dict(data=1, fsdp=8, tensor=1, sequence=1))
    with pytest.raises(ConfigError, match="does not divide over the mesh"):
        interop.load_hf(tmp_path, mesh)
