"""Directories of safetensors: opened by their headers, read by slices, written tensor by tensor.

The format is plain: eight bytes with the length of a JSON header, the header (dtype, shape and place of each tensor),
then the arrays, little-endian and C-ordered. A tensor is mapped into memory only while a slice of it is copied: of any
view of it, transposed or cut into heads, which the safetensors library, that slices axes only and writes files that are
whole in memory, does not offer. Tests hold both directions against that library.
"""

import dataclasses
import json
import math
import pathlib
import shlex

import ml_dtypes
import numpy as np

from cloze import storage
from cloze.errors import DataError

SINGLE, INDEX, PICKLE = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
DTYPES = {  # those that parameters come in
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
_LARGEST_HEADER = 100_000_000  # the format's own limit


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of a file.

    Attributes:
        path: the file.
        code: dtype as the header spells it.
        shape: its shape.
        offset: where its bytes begin in the file.
    """

    path: pathlib.Path
    code: str
    shape: tuple[int, ...]
    offset: int

    def map(self, name):
        """The tensor as a read-only memory map; nothing is read until it is sliced.

        Raises:
            DataError: its dtype is none that parameters come in.
        """
        if self.code not in DTYPES:
            raise DataError(
                f"{self.path}: the tensor {name} is of dtype {self.code}; expected one of {', '.join(DTYPES)} "
                "(quantised files cannot be read: take the release in full precision)"
            )
        if 0 in self.shape:
            return np.zeros(self.shape, DTYPES[self.code])
        return np.memmap(self.path, DTYPES[self.code], "r", self.offset, self.shape)


@dataclasses.dataclass(frozen=True)
class Directory:
    """An opened directory.

    Attributes:
        path: where it is.
        settings: config.json as a dict.
        tensors: {name: Tensor}, over all shards.
    """

    path: pathlib.Path
    settings: dict
    tensors: dict

    @property
    def codes(self):
        """The dtypes of the tensors, sorted."""
        return sorted({tensor.code for tensor in self.tensors.values()})


def open_directory(path):
    """Reads config.json and the headers of all files.

    Raises:
        DataError: something is missing or damaged, or there is only a pickle.
    """
    path = pathlib.Path(path).expanduser()
    if not path.is_dir():
        raise DataError(
            f"{path} is not a directory: give a local one that holds config.json and model.safetensors (nothing is "
            "downloaded)"
        )
    settings = read_json(path / "config.json")
    if (path / SINGLE).exists():
        return Directory(path, settings, read_header(path / SINGLE))
    if (path / INDEX).exists():
        return Directory(path, settings, _shards(path))
    if (path / PICKLE).exists():
        raise DataError(f"{path} holds only {PICKLE}, a pickle, which can run any code when read. {conversion(path)}")
    raise DataError(f"{path} holds no weights: expected {SINGLE}, or {INDEX} with its shards")


def conversion(path):
    """The line that turns a pickle into safetensors without running what it holds."""
    code = (
        "import torch, safetensors.torch as s; "
        f"w = torch.load({str(path / PICKLE)!r}, map_location='cpu', weights_only=True); "
        f"s.save_file({{k: v.clone().contiguous() for k, v in w.items()}}, {str(path / SINGLE)!r})"
    )
    return f"Convert it once, where torch and safetensors are installed: python -c {shlex.quote(code)}"


def read_json(path):
    """The dict in a JSON file of such a directory.

    Raises:
        DataError: there is no such file, or something else in it.
    """
    try:
        return storage.read_json(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; a Hugging Face directory holds it") from None
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}): copy it again") from None


def _shards(path):
    found = read_json(path / INDEX).get("weight_map")
    if not isinstance(found, dict):
        raise DataError(f"{path / INDEX} has no weight_map: copy it again")
    for name, shard in found.items():
        if not isinstance(shard, str) or pathlib.PurePath(shard).is_absolute() or ".." in pathlib.PurePath(shard).parts:
            raise DataError(
                f"{path / INDEX} says that {name} is in {shard!r}, which is no file of that directory: it is damaged, "
                "or made to have other files read; take the model from its source again"
            )
    headers = {}
    for shard in sorted(set(found.values())):
        if not (path / shard).exists():
            raise DataError(f"{path / INDEX} names the shard {shard}, which is not there: copy it again")
        headers[shard] = read_header(path / shard)
    for name, shard in found.items():
        if name not in headers[shard]:
            raise DataError(f"{path / INDEX} says that {name} is in {shard}, but it is not: copy both again")
    return {name: headers[shard][name] for name, shard in found.items()}


def read_header(path):
    """{name: Tensor} of one safetensors file.

    Raises:
        DataError: the file is cut short or is none.
    """
    try:
        storage.check_regular(path)
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, _LARGEST_HEADER):
                raise DataError(f"{path} is cut short or no safetensors file ({size} bytes): copy it again")
            header = storage.parse_json(file.read(length))
        header.pop("__metadata__", None)
        found, end = {}, 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            start, stop = entry["data_offsets"]
            shape = tuple(entry["shape"])
            if not all(type(number) is int and number >= 0 for number in (start, stop, *shape)) or stop < start:
                raise DataError(f"{path} is damaged: {name} is at {start} to {stop}, of shape {shape}; copy it again")
            if start != end:
                raise DataError(
                    f"{path} is damaged: {name} begins at byte {start} of the tensors, where the one before it ends at "
                    f"{end}; copy it again"
                )
            end = stop
            if 8 + length + stop > size:
                raise DataError(f"{path} is cut short: {name} ends beyond its {size} bytes; copy it again")
            code = entry["dtype"]
            if code in DTYPES and stop - start != math.prod(shape) * DTYPES[code].itemsize:
                raise DataError(f"{path} is damaged: the bytes of {name} do not fill its shape {shape}; copy it again")
            found[name] = Tensor(path, code, shape, 8 + length + start)
        if 8 + length + end != size:
            raise DataError(
                f"{path} is damaged: {size - 8 - length - end} bytes at its end are no tensor's; copy it again"
            )
        found = {name: found[name] for name in header}
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged: its header is not what safetensors has ({error!r}); copy it again"
        ) from None
    return found


def finite(array, name, path):
    """The array, if all of its numbers are.

    Raises:
        DataError: names the tensor and where it is.
    """
    if not np.isfinite(array).all():
        raise DataError(
            f"{path}: the tensor {name} has numbers that are not finite (NaN or infinite): the model was damaged when "
            "it was trained or saved; take it from its source again"
        )
    return array


def write_file(path, shapes, dtype, make):
    """Writes one safetensors file, holding one tensor at a time.

    Args:
        path: the file.
        shapes: {name: shape}, in the order of the file.
        dtype: numpy dtype of all tensors.
        make: name -> array of that shape and dtype.
    """
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        stop = offset + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": CODES[dtype], "shape": list(shape), "data_offsets": [offset, stop]}
        offset = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in shapes:
            file.write(memoryview(np.ascontiguousarray(make(name)).reshape(-1).view(np.uint8)))
