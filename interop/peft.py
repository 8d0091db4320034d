"""LoRA's factors in the directories of the `peft` package: adapter_config.json and adapter_model.safetensors.

Its factors are those of torch's modules: lora_A [rank, in] and lora_B [out, rank], also for the Conv1D of GPT models.
DoRA's lora_magnitude_vector [out] are lengths of columns, where we have how much longer they have become.
Where such a module holds several of our kernels (GPT's c_attn: query, key and value), it is written with a block of
ranks for each of them, of zeros where one is not adapted, which is the same map exactly; and a fused module that was
trained in one piece is read as kernels that each have a copy of its lora_A, which compute the same but train apart.
"""

import collections
import dataclasses
import json
import pathlib
import re
from typing import Any

import numpy as np

from cloze import storage
from cloze.errors import ConfigError, DataError
from cloze.interop import files, formats, keys
from cloze.interop import plan as plans
from cloze.models import names
from cloze.models.low_rank import SCALINGS, Lora, adapted_kernels, factors_of, magnitude_of
from cloze.value_types import ShortPattern

CONFIG, TENSORS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
PREFIX = "base_model.model."
TABLE = "token/embedding"  # our table of token embeddings
# What adapter_config.json may say (peft 0.21): keys that are read here, and keys that say how the adapter was made or
# trained, and nothing of what it computes. Any other key must be empty: it might change the result.
READ = (
    "peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "fan_in_fan_out",
    "modules_to_save", "bias", "init_lora_weights",
)  # fmt: skip
IDLE = (
    "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
    "megatron_core", "eva_config", "qalora_group_size", "runtime_config",
)  # fmt: skip
# How factors began, where the base stayed what it was; pissa, olora, corda, loftq and others subtract from it.
BEGINNINGS = (None, True, False, "gaussian", "eva", "orthogonal")
_ALPHA = keys.key(float, above=0)
_KEYS = {
    "peft_type": keys.TEXT,
    "bias": keys.TEXT,
    "r": keys.SIZE,
    "lora_alpha": _ALPHA,
    "alpha_pattern": keys.key(dict[ShortPattern, float], above=0),
    **dict.fromkeys(("use_rslora", "use_dora"), keys.SWITCH),
    "auto_mapping": keys.key(dict[str, Any]),
}


@dataclasses.dataclass(frozen=True)
class _Piece:
    """One layer's kernel within a module of theirs.

    Attributes:
        kernel: name of our parameter.
        layer: its place in a stacked parameter, or None.
        shape: of the kernel without the rows that pad the vocabulary.
        rows: int [out], which outputs of the module are the kernel's.
    """

    kernel: str
    layer: int | None
    shape: tuple[int, int]
    rows: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Module:
    """A linear map of theirs: the number of its outputs, whether it keeps [in, out], and our kernels in it."""

    outputs: int
    fan_in_fan_out: bool
    pieces: list


def save_lora(directory, config, params, lora, class_name=None, modules=(), base="", report=print):
    """Writes the factors of an adapted model for `peft`; the directory appears when it is complete.

    Args:
        directory: must not exist, or be empty.
        config: ModelConfig.
        params: stored tree of models.adapted.Adapted.
        lora: its Lora.
        class_name: class of transformers that the adapter goes with; None: the one with just our heads.
        modules: names at the top level of parameters that have trained as well ("classifier"), written whole.
        base: what users load the model itself from, for adapter_config.json.
        report: called with a line.

    Raises:
        ConfigError: a kernel that is no linear map of that class, or a directory that is not empty.
    """
    target = pathlib.Path(directory).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} is there already and not empty: name another directory, or remove it")
    flat = {name: np.asarray(leaf) for name, leaf in names.flatten(params).items()}
    class_name, parts = _parts(config, class_name)
    tensors, settings = _their_factors(flat, lora, _modules(parts), class_name)
    whole = [part for part in parts if part.ours.split("/")[0] in modules]
    if lacking := set(modules) - {part.ours.split("/")[0] for part in whole}:
        raise ConfigError(f"transformers' {class_name} has no place for {', '.join(sorted(lacking))}")
    for part in whole:
        array = tensors.setdefault(PREFIX + part.theirs, np.zeros(part.theirs_shape, np.float32))
        part.write(array, flat[part.ours] if part.layer is None else flat[part.ours][part.layer])
    settings["modules_to_save"] = sorted({part.theirs.rpartition(".")[0] for part in whole}) or None
    settings["base_model_name_or_path"] = base or None
    settings["auto_mapping"] = {"base_model_class": class_name, "parent_library": "transformers"}

    with storage.whole(target) as partial:
        partial.mkdir()
        (partial / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
        shapes = {name: array.shape for name, array in sorted(tensors.items())}
        files.write_file(partial / TENSORS, shapes, np.dtype(np.float32), tensors.__getitem__)
    report(f"{target}: LoRA of rank {lora.rank} for {class_name}, {len(tensors)} tensors")


def load_lora(directory, config, class_name=None, base=None):
    """Reads a directory of `peft`.

    Args:
        directory: with adapter_config.json and adapter_model.safetensors.
        config: ModelConfig of the model that is adapted.
        class_name: class of transformers that the adapter was made for; None: the one that it names itself, or the
            first that has all of its modules, those with just our heads first.
        base: () -> {name: array} of the parameters that are adapted, which DoRA's lengths are compared with.

    Returns:
        (Lora, tree of numpy f32 arrays): the factors under "lora", of layers that are not adapted zeros, and the
        parameters of modules that were saved whole. Ranks that differ are filled up with zeros.

    Raises:
        DataError: files that are missing or damaged.
        ConfigError: an adapter that we cannot compute, or of another model.
    """
    path, settings, factors, whole = _read(directory)
    class_name, parts = _class_with(path, config, class_name or _told(settings, config), factors, whole)
    made = _with_heads(config, class_name)
    wanted = plans.parameters(made).shapes
    lora, flat = _our_factors(path, settings, factors, _modules(parts), wanted, base)
    for part in parts:
        if part.theirs in whole:
            if part.layer is not None:
                raise ConfigError(
                    f"{path / TENSORS}: {part.theirs} was trained whole, which is not supported in a layer"
                )
            if part.ours == TABLE and config.tie_embeddings and {"lm", "mlm"} & set(made.heads_out):
                raise ConfigError(
                    f"{path / TENSORS}: {part.theirs} was trained whole (modules_to_save), while the head over the "
                    f"vocabulary of {class_name} kept the table as it was; here both are one (model.tie_embeddings): "
                    "untie them before you train the adapter, or leave the table out of modules_to_save"
                )
            if whole[part.theirs].shape != part.theirs_shape:
                raise ConfigError(
                    f"{path / TENSORS}: {part.theirs} is of shape {whole[part.theirs].shape}, this model needs "
                    f"{part.theirs_shape}: the adapter is of another model"
                )
            index = tuple(slice(None) for _ in wanted[part.ours])
            mapped = whole[part.theirs].map(part.theirs)
            read = part.read(mapped, index, wanted[part.ours], np.float32)
            flat[part.ours] = files.finite(read, part.theirs, path)
    return lora, names.unflatten(flat)


def adapted_config(directory, config, class_name=None):
    """The model that an adapter in a directory of `peft` was made for.

    Args:
        directory, class_name: see `load_lora`.
        config: ModelConfig of the model that is adapted, with any heads.

    Returns:
        ModelConfig with the heads of that class, and as many labels as a classifier in the directory has.

    Raises:
        As `load_lora`.
    """
    path, settings, factors, whole = _read(directory)
    class_name, parts = _class_with(path, config, class_name or _told(settings, config), factors, whole)
    labels = {whole[p.theirs].shape[0] for p in parts if p.ours in _LABELS and p.theirs in whole}
    config = _with_heads(config, class_name)
    return dataclasses.replace(config, num_labels=labels.pop()) if labels else config


_LABELS = ("classifier/kernel", "tagger/kernel")  # whose outputs are labels


def _read(directory):
    """(path, adapter_config.json, {module: {"A", "B" or "M": array}}, {name: tensor} of what was saved whole)."""
    path = pathlib.Path(directory).expanduser()
    settings = keys.checked(files.read_json(path / CONFIG), _KEYS, str(path / CONFIG), ConfigError)
    _check_plain(path, settings)
    if not (path / TENSORS).exists() and (path / PICKLE).exists():
        raise DataError(f"{path} holds only {PICKLE}, a pickle, which can run any code when read: save it again with "
                        "peft's save_pretrained(safe_serialization=True)")  # fmt: skip
    factors, whole = collections.defaultdict(dict), {}
    for name, tensor in files.read_header(path / TENSORS).items():
        found = re.fullmatch(re.escape(PREFIX) + r"(.*)\.lora_(A|B|magnitude_vector)(\.default)?(\.weight)?", name)
        if found:
            factors[found[1]][found[2][0].upper()] = files.finite(np.asarray(tensor.map(name), np.float32), name, path)
        else:
            whole[name.removeprefix(PREFIX)] = tensor
    return path, settings, factors, whole


def _told(settings, config):
    """The class that a directory names, if it is one that this model can have; else None."""
    told = (settings.get("auto_mapping") or {}).get("base_model_class")
    return told if told in _candidates(config) else None


def _candidates(config):
    """{class name: Format} of a family, those with just the model's heads first."""
    found = {name: known for known in formats.of_family(config.family) for name in known.classes}
    exact = {n: known for n, known in found.items() if set(known.classes[n].heads) == set(config.heads_out)}
    return exact | found


def _with_heads(config, class_name):
    heads = _candidates(config)[class_name].classes[class_name].heads
    return dataclasses.replace(config, heads_out=heads)


def _parts(config, class_name):
    """(class name, [interop.plan.Piece] of its parameters)."""
    known = _candidates(config)
    class_name = class_name or next(iter(known), None)
    if class_name not in known:
        raise ConfigError(
            f"model.family={config.family} has no class {class_name!r} in transformers; known: {', '.join(known)}"
        )
    config = _with_heads(config, class_name)
    rows, base = known[class_name].rows(class_name), known[class_name].base_of(class_name)
    return class_name, plans.plan(rows, base, config, plans.parameters(config))


def _modules(parts):
    """{path of a module: _Module} of all linear maps."""
    found = {}
    for part in parts:
        if not part.ours.endswith("/kernel") or len(part.theirs_shape) != 2:
            continue
        # What each of our elements is in their array: whichever axis follows our inputs is theirs.
        first, second = (
            part.view(np.broadcast_to(x, part.theirs_shape)) for x in np.indices(part.theirs_shape, sparse=True)
        )
        fan_in_fan_out = bool((second[:, 0] == second[0, 0]).all() and part.cut[0] > 1)
        rows = second[0] if fan_in_fan_out else first[0]
        path = part.theirs.removesuffix(".weight")
        outputs = part.theirs_shape[1 if fan_in_fan_out else 0]
        module = found.setdefault(path, _Module(outputs, fan_in_fan_out, []))
        module.pieces.append(_Piece(part.ours, part.layer, part.cut, np.array(rows)))
    return found


def _their_factors(flat, lora, modules, class_name):
    """({name: array}, adapter_config.json)."""
    chosen = adapted_kernels(lora.targets, {name: leaf.shape for name, leaf in flat.items()})
    chosen = {kernel: layers for kernel, layers in chosen.items() if layers.any()}
    held = {piece.kernel for module in modules.values() for piece in module.pieces}
    if lacking := sorted(set(chosen) - held):
        raise ConfigError(
            f"{', '.join(lacking)}: transformers' {class_name} has no linear map for it that peft could adapt; "
            "merge the model instead"
        )

    def counts(piece):  # what adds nothing is left out, if it was not to be adapted
        if piece.kernel not in chosen:
            return False
        b = flat[factors_of(piece.kernel)[1]]
        return chosen[piece.kernel][piece.layer or 0] or b[piece.layer or 0].any()

    tensors, ranks = {}, {}
    for path, module in modules.items():
        adapted = [counts(piece) for piece in module.pieces]
        if not any(adapted):
            continue
        a_RD = np.zeros((len(adapted) * lora.rank, module.pieces[0].shape[0]), np.float32)
        b_OR = np.zeros((module.outputs, len(a_RD)), np.float32)
        for number, piece in enumerate(module.pieces):
            if not adapted[number]:
                continue
            block = slice(number * lora.rank, (number + 1) * lora.rank)
            a, b = (_of_layer(flat[n], piece) for n in factors_of(piece.kernel))
            a_RD[block] = a[: piece.shape[0]].T
            b_OR[piece.rows, block] = b[:, : piece.shape[1]].T
        tensors[f"{PREFIX}{path}.lora_A.weight"], tensors[f"{PREFIX}{path}.lora_B.weight"] = a_RD, b_OR
        if lora.magnitudes:
            tensors[f"{PREFIX}{path}.lora_magnitude_vector"] = m_O = np.zeros(module.outputs, np.float32)
            for piece in module.pieces:
                m_O[piece.rows] = _lengths(flat, piece)
                if piece.kernel in chosen:
                    m_O[piece.rows] += _of_layer(flat[magnitude_of(piece.kernel)], piece)[: piece.shape[1]]
        ranks[path] = len(a_RD)
    other = {path: rank for path, rank in ranks.items() if rank != lora.rank}
    return tensors, {
        "peft_type": "LORA",
        "bias": "none",
        "task_type": None,
        "inference_mode": True,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "use_rslora": lora.scaling == "sqrt_rank",
        "use_dora": lora.magnitudes,
        "fan_in_fan_out": any(modules[path].fan_in_fan_out for path in ranks),
        "target_modules": sorted(ranks),
        "rank_pattern": {re.escape(path): rank for path, rank in other.items()},
        "alpha_pattern": {re.escape(path): lora.scale * SCALINGS[lora.scaling](rank) for path, rank in other.items()},
    }


def _of_layer(array, piece):
    return array if piece.layer is None else array[piece.layer]


def _lengths(flat, piece):
    """The lengths of the columns of a kernel."""
    kernel = np.asarray(_of_layer(flat[piece.kernel], piece), np.float32)
    return np.linalg.norm(kernel[: piece.shape[0], : piece.shape[1]], axis=0)


def _check_plain(path, settings):
    """Refuses what is not known to compute kernel + scale * B A, by name."""
    file = path / CONFIG
    if settings.get("peft_type") != "LORA":
        raise ConfigError(f"{file}: peft_type={settings.get('peft_type')!r} cannot be read, only LORA can")
    if settings.get("bias") not in ("none", None):
        raise ConfigError(f"{file}: bias={settings['bias']!r} is not supported, expected 'none'")
    begun = settings.get("init_lora_weights")
    if not any(begun is known or (isinstance(begun, str) and begun == known) for known in BEGINNINGS):
        raise ConfigError(
            f"{file}: init_lora_weights={begun!r} may have changed the base that the adapter goes with; supported are "
            f"{', '.join(map(str, BEGINNINGS[1:]))}. peft's save_pretrained(path_initial_model_for_weight_conversion="
            "...) writes the same adapter for the base as it was"
        )
    for key, value in settings.items():
        if value and key not in (*READ, *IDLE):
            raise ConfigError(
                f"{file}: {key}={value!r} is not supported, and might change what the adapter computes; supported are "
                f"{', '.join(READ)}"
            )


def _class_with(path, config, class_name, factors, whole):
    """(class name, its parts): the class that has every module of a file."""
    lacking = {}
    for name in [class_name] if class_name else _candidates(config):
        name, parts = _parts(config, name)
        missing = (set(factors) - set(_modules(parts))) | (set(whole) - {part.theirs for part in parts})
        if not missing:
            return name, parts
        lacking[name] = sorted(missing)
    if not lacking:
        raise ConfigError(f"models of model.family={config.family} have no class in transformers")
    name, missing = min(lacking.items(), key=lambda item: len(item[1]))
    raise ConfigError(
        f"{path / TENSORS}: {missing[0]} is no linear map of transformers' {name}, the closest class of model.family="
        f"{config.family}: the adapter is of another model"
    )


def _our_factors(path, settings, factors, modules, wanted, base):
    """(Lora, {name: array}) of all kernels that are adapted."""
    found, scales = collections.defaultdict(dict), {}
    scaling = "sqrt_rank" if settings.get("use_rslora") else "rank"
    magnitudes = bool(settings.get("use_dora"))
    if magnitudes and base is None:
        raise ConfigError(f"{path} is of DoRA, whose lengths need the parameters that are adapted")
    kernels = base() if magnitudes else None
    for module_path, both in factors.items():
        module = modules[module_path]
        wide = module.pieces[0].shape[0]
        if (
            set(both) != {"A", "B", *("M" if magnitudes else "")}
            or both["A"].shape[1:] != (wide,)
            or both["B"].shape != (module.outputs, len(both["A"]))
        ):
            raise ConfigError(
                f"{path / TENSORS}: the factors of {module_path} are of shapes "
                f"{ {key: list(x.shape) for key, x in both.items()} }, expected A [rank, {wide}] and B "
                f"[{module.outputs}, rank]" + (", and lora_magnitude_vector [out]" if magnitudes else "")
            )
        rank = len(both["A"])
        scale = _alpha(settings, module_path) / SCALINGS[scaling](rank)
        for piece, own in zip(module.pieces, _owned(module, both, settings.get("r", 8)), strict=True):
            longer = both["M"][piece.rows] - _lengths(kernels, piece) if magnitudes else 0.0
            if own.any() or (magnitudes and np.abs(longer).max() > 1e-5 * np.abs(both["M"]).max()):
                factors_here = both["A"][own].T, both["B"][piece.rows][:, own].T
                found[piece.kernel][piece.layer or 0] = *factors_here, scale, longer
                scales[scale] = scales.get(scale, 0) + 1
    if not found:
        raise ConfigError(f"{path / TENSORS} adapts nothing: it has no factors, or only zeros")
    common = max(scales, key=scales.get)
    rank = max(a.shape[1] for layers in found.values() for a, *_ in layers.values())
    flat, targets = {}, []
    for kernel, layers in found.items():
        *stack, wide, out = wanted[kernel]
        a_DR, b_RO = (
            np.zeros(shape, np.float32) for shape in ((*(stack or [1]), wide, rank), (*(stack or [1]), rank, out))
        )
        m_O = np.zeros((*(stack or [1]), out), np.float32)
        for layer, (a, b, scale, longer) in layers.items():
            a_DR[layer, : a.shape[0], : a.shape[1]] = a
            b_RO[layer, : b.shape[0], : b.shape[1]] = b if scale == common else b * np.float32(scale / common)
            m_O[layer, : b.shape[1]] = longer
        arrays = dict(zip(factors_of(kernel), (a_DR, b_RO), strict=True))
        arrays |= {magnitude_of(kernel): m_O} if magnitudes else {}
        flat |= {name: array if stack else array[0] for name, array in arrays.items()}
        targets += _rules(kernel, layers, stack)
    return Lora(rank, common * SCALINGS[scaling](rank), (*targets, (r".*", False)), scaling, magnitudes), flat


def _owned(module, both, rank):
    """Which ranks of a module are each kernel's, bool [kernels, ranks].

    Those of a block that we have written are its kernel's, without any where lora_A is zero; of other fused modules
    those that write to the kernel, or to none yet (lora_B begins at zero).
    """
    count = len(module.pieces)
    if count == 1:
        return np.ones((1, len(both["A"])), bool)
    writes = np.stack([both["B"][piece.rows].any(axis=0) for piece in module.pieces])
    if count * rank == writes.shape[1]:
        blocks = np.repeat(np.eye(count, dtype=bool), rank, axis=1)
        if not (writes & ~blocks).any():
            return blocks & both["A"].any(axis=1)
    return writes | ~writes.any(axis=0)


def _rules(kernel, layers, stack):
    """Rules of lora_targets for the layers of one kernel."""
    if not stack:
        return [(re.escape(kernel), True)]
    before, after = (re.escape(part) for part in kernel.split("/layers/"))
    numbers = r"\d+" if len(layers) == stack[0] else f"({'|'.join(map(str, sorted(layers)))})"
    return [(f"{before}/layers/{numbers}/{after}", True)]


def _alpha(settings, module_path):
    """The alpha of a module."""
    patterns = settings.get("alpha_pattern") or {}
    return next(
        (value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module_path)),
        settings.get("lora_alpha", 8),
    )
