"""A model of ours as a Hugging Face directory, in the names and layouts of one of transformers' classes."""

import collections
import dataclasses
import json
import math
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from cloze import storage
from cloze.errors import ConfigError
from cloze.interop import files, formats, settings, tokenizers
from cloze.interop import plan as plans
from cloze.models import names
from cloze.options import suggest

DTYPES = ("float32", "bfloat16", "float16")
_WRITERS = ("LMHeadModel", "ForCausalLM", "ForConditionalGeneration", "MTModel")  # ends of names of classes that write


@dataclasses.dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        class_name: the class of transformers that reads it.
        tensors: number of tensors.
        left_out: parameters that this class has no place for.
    """

    class_name: str
    tensors: int
    left_out: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """A class of transformers that holds a model, and what is written for it.

    Attributes:
        known: Format.
        class_name: the class.
        config: ModelConfig with the heads of the class.
        wanted: names of the parameters that go into it.
        tensors: {their name: (shape, [Piece], value of a constant)}.
        settings: config.json.
    """

    known: Any
    class_name: str
    config: Any
    wanted: frozenset
    tensors: dict
    settings: dict


def save_hf(
    directory, config, params, tokenizer=None, dtype="float32", max_shard_bytes=5_000_000_000, class_name=None,
    source_settings=None, labels=(), generation=None, report=print,
):  # fmt: skip
    """Writes config.json, safetensors and the tokenizer; the directory appears when it is complete.

    Args:
        directory: must not exist, or be empty.
        config: ModelConfig.
        params: nested tree of arrays.
        tokenizer: data.tokenizers.Tokenizer, or None.
        dtype: "float32", "bfloat16" or "float16".
        max_shard_bytes: files are not larger than this, if no tensor is.
        class_name: class of transformers; None: the one with just our heads, or else that holds the most of the model.
        source_settings: config.json that the model was read from, if any; see interop.settings.CARRIED.
        labels: names of the classes or tags, in the order of the head's scores; (): those of the source, or none.
        generation: text of the generation_config.json that the model was read with, if any; None: the tokenizer's.
        report: called with a few lines.

    Returns:
        Written.

    Raises:
        ConfigError: a model that no class of transformers computes, or a directory that is not empty.
    """
    target = pathlib.Path(directory).expanduser()
    check_free(target)
    if dtype not in DTYPES:
        raise ConfigError(f"dtype={dtype!r} is not one of {', '.join(DTYPES)}")
    flat = names.flatten(params)
    chosen = _choose(config, flat, class_name, source_settings, labels)
    described = chosen.settings | {"torch_dtype": dtype}
    if tokenizer is not None:
        described |= _special_ids(tokenizer, chosen)

    with storage.whole(target) as partial:
        partial.mkdir()
        (partial / "config.json").write_text(json.dumps(described, indent=2, sort_keys=True) + "\n")
        _write_tensors(partial, chosen.tensors, flat, jnp.dtype(dtype), max_shard_bytes)
        if tokenizer is not None:
            tokenizers.save_hf(tokenizer, partial)
            generation = generation or tokenizer.carried.get(tokenizers.GENERATION_FILE) or _generation(described)
        if generation and chosen.class_name.endswith(_WRITERS):
            (partial / tokenizers.GENERATION_FILE).write_text(generation, encoding="utf-8")
    written = Written(chosen.class_name, len(chosen.tensors), tuple(sorted(set(flat) - chosen.wanted)))
    report(f"{target}: {written.class_name}, {written.tensors} tensors ({dtype})")
    if written.left_out:
        report(f"{written.class_name} has no place for {', '.join(written.left_out)}: left out")
    return written


def check_free(target):
    """Refuses a directory that is there and not empty."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} is there already and not empty: name another directory, or remove it")


def _choose(config, flat, class_name, source_settings, labels):
    """The class to write, prepared: the one that is asked for, or has exactly our heads, or holds the most.

    Raises:
        ConfigError: no class of transformers holds such a model; the closest one's reason is given.
    """
    candidates = [(known, name) for known in formats.of_family(config.family) for name in known.classes]
    if not candidates:
        families = sorted({f for name in formats.model_types() for f in formats.get(name).families})
        raise ConfigError(
            f"models of model.family={config.family} have no class in transformers; families that have one: "
            f"{', '.join(families)}"
        )
    if class_name is not None:
        listed = [name for _, name in candidates]
        candidates = [(known, name) for known, name in candidates if name == class_name]
        if not candidates:
            hint = suggest(class_name, listed) or ";"
            raise ConfigError(
                f"no class {class_name!r} for model.family={config.family}{hint} known: {', '.join(listed)}"
            )
    refused = []
    for exact in (True, False):
        held = []
        for known, name in candidates:
            if (set(known.classes[name].heads) == set(config.heads_out)) != exact:
                continue
            try:
                held.append(_prepare(known, name, config, flat, source_settings, labels))
            except ConfigError as error:
                refused.append(error)
        if held:
            return max(held, key=lambda prepared: len(prepared.wanted))
    raise refused[0]


def _prepare(known, class_name, config, flat, source_settings, labels):
    """The _Prepared of one class; ConfigError if it cannot hold the model."""
    config = dataclasses.replace(config, heads_out=known.classes[class_name].heads)
    wanted = plans.parameters(config)
    for name, shape in wanted.shapes.items():
        if name not in flat:
            raise ConfigError(f"the model has no {name}, which {class_name} needs")
        if tuple(flat[name].shape) != shape:
            raise ConfigError(f"{name} has the shape {list(flat[name].shape)}, its configuration says {list(shape)}")
    tensors = _tensors(known, class_name, config, wanted)
    described = settings.write(known, class_name, config, tensors, source_settings, labels)
    return _Prepared(known, class_name, config, frozenset(wanted.shapes), tensors, described)


def _tensors(known, class_name, config, wanted):
    """{their name: (shape, [Piece], value of a constant)}."""
    base = known.base_of(class_name)
    parts = plans.plan(known.rows(class_name), base, config, wanted)
    unnamed = sorted(set(wanted.shapes) - {part.ours for part in parts})
    if unnamed:
        raise ConfigError(f"transformers' {class_name} has no place for {', '.join(unnamed)}: it cannot be written")
    grouped = collections.defaultdict(list)
    for part in parts:
        grouped[part.theirs].append(part)
    found = {name: (together[0].theirs_shape, together, None) for name, together in grouped.items()}
    for buffer in known.classes[class_name].buffers:
        found[buffer.theirs.replace("{base}", base)] = (tuple(buffer.shape(config)), [], buffer.value)
    return dict(sorted(found.items()))


def _write_tensors(directory, tensors, flat, dtype, max_shard_bytes):
    """One file, or shards with their index."""

    def make(name):
        shape, parts, value = tensors[name]
        array = np.empty(shape, dtype) if value is None else np.full(shape, value, dtype)
        for part in parts:
            ours = flat[part.ours] if part.layer is None else flat[part.ours][part.layer]
            part.write(array, np.asarray(ours))
        if dtype == np.float16 and not np.isfinite(array).all():
            raise ConfigError(f"{name} has numbers that float16 cannot hold: write bfloat16 or float32")
        return array

    sizes = {name: math.prod(shape) * dtype.itemsize for name, (shape, _, _) in tensors.items()}
    shards = _shards(sizes, max_shard_bytes)
    shapes = {name: shape for name, (shape, _, _) in tensors.items()}
    if len(shards) == 1:
        files.write_file(directory / files.SINGLE, shapes, dtype, make)
        return
    weight_map = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        files.write_file(directory / file, {name: shapes[name] for name in shard}, dtype, make)
        weight_map |= dict.fromkeys(shard, file)
    index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
    (directory / files.INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _shards(sizes, most):
    """[[name]]: in order, no list larger than `most` bytes unless it is a single tensor."""
    shards, room = [], 0
    for name, size in sizes.items():
        if not shards or size > room:
            shards.append([])
            room = most
        shards[-1].append(name)
        room -= size
    return shards


def _special_ids(tokenizer, chosen):
    """The keys of config.json that name special tokens.

    Raises:
        ConfigError: the class computes with such an id (RoBERTa's positions), and the tokenizer's is another.
    """
    tables = tokenizer.tables
    roles = {"pad_token_id": tables.pad, "bos_token_id": tables.bos, "eos_token_id": tables.eos}
    computed = chosen.known.write(chosen.config)
    for key, value in roles.items():
        if key in computed and computed[key] != value:
            raise ConfigError(
                f"{chosen.class_name} computes with {key}={computed[key]}, but the tokenizer has {value}: it cannot be "
                "written with this tokenizer"
            )
    ids = {key: int(value) for key, value in roles.items() if value is not None}
    forced = chosen.known.keys.get("forced_eos_token_id")
    if forced is not None and chosen.settings["forced_eos_token_id"] == forced and "eos_token_id" in ids:
        ids["forced_eos_token_id"] = ids["eos_token_id"]  # the source, if any, says nothing else
    ends = chosen.settings.get("eos_token_id") or list(tokenizer.ends)
    if isinstance(ends, list) and len(ends) > 1:
        ids["eos_token_id"] = ends + [i for i in [ids.get("eos_token_id")] if i not in (None, *ends)]
    return ids


def _generation(described):
    """The generation_config.json that transformers makes of a config.json, as text."""
    keys = ("bos", "eos", "pad", "decoder_start", "forced_bos", "forced_eos")
    ids = {key: described[key] for name in keys if described.get(key := f"{name}_token_id") is not None}
    return json.dumps({"_from_model_config": True, **ids}, indent=2) + "\n"
