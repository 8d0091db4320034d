"""Hugging Face directories made of random numbers, with safetensors' own writer, and tiny models of every format."""

import dataclasses
import json

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from cloze.interop import formats, plan, settings

BFLOAT16 = ml_dtypes.bfloat16


def tiny(known, class_name, **changes):
    """A small ModelConfig of one of a format's classes, with what config.json's silence means for all else."""
    silent = {"model_type": known.model_type, "architectures": [class_name], **known.keys}
    silent |= known.classes[class_name].keys
    config = settings.read(silent, ())[2]
    size = dict(layers=2, width=32, heads=4, head_dim=8, ffn=128, vocab_size=97, vocab_multiple=8)
    size["kv_heads"] = 4 if config.kv_heads == config.heads else 2
    size["embedding_width"] = 32 if config.embedding_width == config.width else 16
    size["decoder_layers"] = min(2, config.decoder_layers)
    size["max_positions"] = min(24, config.max_positions)
    return dataclasses.replace(config, **size | changes)


def tensors(known, class_name, config, dtype=np.float32, seed=0):
    """{their name: random array}, constants included."""
    rng = np.random.default_rng(seed)
    base = known.base_of(class_name)
    shapes = {
        p.theirs: p.theirs_shape for p in plan.plan(known.rows(class_name), base, config, plan.parameters(config))
    }
    made = {name: rng.normal(size=shape).astype(dtype) for name, shape in sorted(shapes.items())}
    for buffer in known.classes[class_name].buffers:
        made[buffer.theirs.replace("{base}", base)] = np.full(buffer.shape(config), buffer.value, dtype)
    return made


def write(directory, model_type, class_name, dtype=np.float32, shards=1, change=None, keys=None, **changes):
    """Writes a directory.

    Args:
        directory: path.
        model_type, class_name: what it holds.
        dtype: of the tensors.
        shards: number of files.
        change: {name: array, or None to leave it out} put over the tensors.
        keys: {key: value} put over config.json.
        **changes: fields of the tiny ModelConfig.

    Returns:
        {their name: array}.
    """
    known = formats.get(model_type)
    config = tiny(known, class_name, **changes)
    made = tensors(known, class_name, config, dtype)
    described = settings.write(known, class_name, config, made) | (keys or {})
    made |= change or {}
    made = {name: np.ascontiguousarray(array) for name, array in made.items() if array is not None}
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(described))
    if shards == 1:
        save_file(made, directory / "model.safetensors")
        return made
    weight_map = {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        some = {name: array for i, (name, array) in enumerate(made.items()) if i % shards == number}
        save_file(some, directory / file)
        weight_map |= dict.fromkeys(some, file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return made
