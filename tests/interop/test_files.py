"""Damaged, missing and foreign files: each is one message that names the file and what to do."""

import ast
import json
import os
import shlex
import subprocess
import sys

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cloze import interop
from cloze.errors import DataError
from cloze.interop import files
from tests.interop import fakes


def shards(path):
    fakes.write(path, "gpt2", "GPT2LMHeadModel", shards=2)
    return path / "model-00002-of-00002.safetensors"


def refused(path, message):
    with pytest.raises(DataError, match=message):
        interop.load_hf(path)


def test_missing_things(tmp_path):
    refused(tmp_path / "nowhere", "nowhere is not a directory")
    refused(tmp_path, "cannot read .*config.json")
    (tmp_path / "config.json").write_text("{")
    refused(tmp_path, "config.json is not valid JSON")
    (tmp_path / "config.json").write_text("{}")
    refused(tmp_path, "holds no weights: expected model.safetensors")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "model.safetensors.index.json"])
def test_pipes_are_not_waited_for(tmp_path, name):
    fakes.write(tmp_path, "gpt2", "GPT2LMHeadModel", shards=2 if name == files.INDEX else 1)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    refused(tmp_path, f"{name}: it is no regular file")


def test_json_that_is_nested_too_deeply(tmp_path):
    deep = "[" * 100_000
    fakes.write(tmp_path, "gpt2", "GPT2LMHeadModel")
    (tmp_path / "model.safetensors").write_bytes(len(deep).to_bytes(8, "little") + deep.encode())
    refused(tmp_path, "model.safetensors is damaged.*too deeply")
    (tmp_path / "config.json").write_text(deep)
    refused(tmp_path, "config.json is not valid JSON.*too deeply")


@pytest.mark.parametrize("number", [np.nan, -np.inf])
def test_weights_that_are_not_finite_are_named(tmp_path, number):
    made = fakes.write(tmp_path, "gpt2", "GPT2LMHeadModel")
    name = next(name for name in made if name.endswith("h.1.ln_1.bias"))
    made[name][3] = number
    save_file(made, tmp_path / files.SINGLE)
    refused(tmp_path, f"the tensor {name} has numbers that are not finite")


def test_damaged_shards(tmp_path):
    shard = shards(tmp_path / "gone")
    shard.unlink()
    refused(tmp_path / "gone", "names the shard model-00002-of-00002.safetensors, which is not there")

    shard = shards(tmp_path / "short")
    shard.write_bytes(shard.read_bytes()[:-8])
    refused(tmp_path / "short", "model-00002-of-00002.safetensors is cut short: .* ends beyond")

    shard = shards(tmp_path / "stub")
    shard.write_bytes(shard.read_bytes()[:20])
    refused(tmp_path / "stub", "cut short or no safetensors file")

    shard = shards(tmp_path / "torn")
    shard.write_bytes(shard.read_bytes()[:8] + b"x" * 5000)
    refused(tmp_path / "torn", "header")

    shard = shards(tmp_path / "moved")
    save_file({name: array for name, array in load_file(shard).items() if "ln_f" not in name}, shard)
    index = json.loads((shard.parent / files.INDEX).read_text())
    name = next(name for name, file in index["weight_map"].items() if "ln_f" in name and file == shard.name)
    refused(tmp_path / "moved", f"says that {name} is in {shard.name}, but it is not")


def write_header(path, header, data=bytes(16)):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def tensor(start, stop, **changes):
    return {"dtype": "F32", "shape": [(stop - start) // 4], "data_offsets": [start, stop], **changes}


@pytest.mark.parametrize("header", [
    {"a": tensor(0, 8), "b": tensor(4, 16, shape=[3])},  # overlapping
    {"a": tensor(-8, 0), "b": tensor(0, 16)},  # bytes of the header
    {"a": tensor(0, 8), "b": tensor(12, 16)},  # a hole
    {"a": tensor(0, 8)},  # bytes after the last
    {"a": tensor(4, 16)},  # bytes before the first
    {"a": tensor(0, 16, shape=[-2, -2])},
    {"a": tensor(0, 16, shape=[4.0])},
    {"a": tensor(0, 16, data_offsets=[16, 0])},
    {"a": tensor(0, 16, data_offsets=[0])},
    {"a": [1]},
    [1],
])  # fmt: skip
def test_places_that_safetensors_refuses_are_refused(tmp_path, header):
    path = write_header(tmp_path / "model.safetensors", header)
    with pytest.raises(SafetensorError):
        load_file(path)
    with pytest.raises(DataError, match="model.safetensors is damaged.*copy it again"):
        files.read_header(path)


def test_the_order_of_a_header_is_free(tmp_path):
    header = {"b": tensor(8, 16), "empty": tensor(8, 8), "a": tensor(0, 8)}
    path = write_header(tmp_path / "model.safetensors", header, np.arange(4, dtype=np.float32).tobytes())
    expected, found = load_file(path), files.read_header(path)
    assert list(found) == list(header)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name].map(name), array)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/outside.safetensors", "a/../../outside.safetensors", 3])
def test_an_index_names_files_of_its_directory_only(tmp_path, name):
    shards(tmp_path / "model")
    index = json.loads((tmp_path / "model" / files.INDEX).read_text())
    index["weight_map"] = dict.fromkeys(index["weight_map"], name)
    (tmp_path / "model" / files.INDEX).write_text(json.dumps(index))
    (tmp_path / "model" / "model-00001-of-00002.safetensors").rename(tmp_path / "outside.safetensors")
    refused(tmp_path / "model", "which is no file of that directory")


def test_a_pickle_is_refused_with_the_line_that_converts_it(tmp_path):
    fakes.write(tmp_path, "gpt2", "GPT2LMHeadModel")
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    refused(tmp_path, "weights_only=True")
    for path in (tmp_path, tmp_path / 'it\'s "quoted" $(here)'):
        *_, code = shlex.split(files.conversion(path))
        assert str(path / "model.safetensors") == ast.parse(code).body[-1].value.args[1].value  # one valid line


def test_dtypes(tmp_path):
    """Half and double precision are read; quantised tensors are refused."""
    for dtype in (np.float16, np.float64):
        tensors = fakes.write(tmp_path / str(dtype), "gpt2", "GPT2Model", dtype)
        _, params = interop.load_hf(tmp_path / str(dtype))
        np.testing.assert_array_equal(
            params["decoder"]["final_norm"]["scale"], tensors["ln_f.weight"].astype(np.float32)
        )
    fakes.write(tmp_path / "int8", "gpt2", "GPT2Model", change={"wte.weight": np.ones((97, 32), np.int8)})
    refused(tmp_path / "int8", "wte.weight is of dtype I8; expected one of F64, F32, F16, BF16")


def test_what_we_write_is_what_safetensors_reads(tmp_path):
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float16, fakes.BFLOAT16):
        made = {"b": rng.normal(size=(3, 5)).astype(dtype), "a": rng.normal(size=7).astype(dtype)}
        shapes = {name: array.shape for name, array in made.items()}
        files.write_file(tmp_path / "x.safetensors", shapes, np.dtype(dtype), made.get)
        found = load_file(tmp_path / "x.safetensors")
        assert {n: (a.dtype, a.tobytes()) for n, a in found.items()} == {
            n: (a.dtype, a.tobytes()) for n, a in made.items()
        }


def test_torch_is_not_needed():
    """Nothing in interop imports torch, transformers or safetensors."""
    code = (
        "import sys, interop, convert; print([m for m in ('torch', 'transformers', 'safetensors') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=".", check=True)
    assert told.stdout.strip() == "[]"
