"""What a compiled program does on one device, read from its text: products, traffic to memory, collectives.

XLA's own cost analysis counts the body of a loop once. Here every instruction counts as often as it runs.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4}
BYTES |= {"f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8, "c128": 16, "f8e4m3fn": 1, "f8e5m2": 1, "token": 0}
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
# What takes no time of its own: names for parts of what is there, loops (their bodies count), and ends of transfers.
FREE = {
    "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "while", "conditional", "call", "after-all",
    "partition-id", "replica-id", "iota", "async-start", "async-update", "async-done", "copy-done", "slice-done",
    "dynamic-slice-done", "dynamic-update-slice-done", "opt-barrier", "domain", "add-dependency",
}  # fmt: skip
_HEADER = re.compile(r"^(ENTRY )?%?([^\s(]+) \(.*\) -> .* \{$")
_END = re.compile(r"^\}(, execution_thread=.*)?\s*$")  # attributes of kernels have lines that begin with one as well
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,]*)\](\{[^}]*\})?")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_ON_CHIP = re.compile(r"S\([1-9]\d*\)")


@dataclasses.dataclass(frozen=True)
class Array:
    """One array of an instruction's result.

    Attributes:
        dtype, shape: as HLO writes them.
        on_chip: it lies in fast memory beside the cores, not in the chip's main memory.
    """

    dtype: str
    shape: tuple[int, ...]
    on_chip: bool = False

    @functools.cached_property
    def bytes(self) -> float:
        """Bytes without padding of the layout."""
        return math.prod(self.shape) * BYTES.get(self.dtype, 4)


@dataclasses.dataclass(frozen=True, eq=False)
class Instruction:
    """One line of a computation; `attributes` is the text behind its operands."""

    name: str
    arrays: tuple[Array, ...]
    opcode: str
    operands: tuple[str, ...]
    literal: str
    attributes: str
    root: bool

    @functools.cached_property
    def called(self) -> tuple[str, ...]:
        """Names of the computations that it runs."""
        branches = [
            name.strip().lstrip("%") for group in _BRANCHES.findall(self.attributes) for name in group.split(",")
        ]
        return (*_CALLED.findall(self.attributes), *branches)

    def attribute(self, name: str) -> str:
        """The text of `name={...}` or `name=...`, without braces; "" if absent."""
        match = re.search(rf"(?:^|[ ,]){name}=(\{{[^}}]*\}}|[^,\s]+)", self.attributes)
        return match[1].strip("{}") if match else ""


class Module:
    """A compiled program.

    Args:
        text: of `jax.stages.Compiled.as_text()`.
    """

    def __init__(self, text: str):
        self.computations: dict[str, dict[str, Instruction]] = {}
        self._used: dict[str, dict[str, list[Instruction]]] = {}
        self.entry, current = "", None
        for line in text.splitlines():
            if current is None:
                if header := _HEADER.match(line):
                    current = self.computations.setdefault(header[2], {})
                    self.entry = header[2] if header[1] else self.entry
            elif _END.match(line):
                current = None
            elif (instruction := _parse(line)) is not None:
                current[instruction.name] = instruction

    def argument_bytes(self) -> float:
        """Bytes of what the program is called with."""
        entry = self.computations[self.entry].values()
        return sum(array.bytes for one in entry if one.opcode == "parameter" for array in one.arrays)

    @functools.cached_property
    def runs(self) -> dict[str, int]:
        """{computation: how often it runs in a step, outside of fusions}."""
        counts: dict[str, int] = {}
        self._count(self.entry, 1, counts)
        return counts

    def _count(self, name, times, counts):
        counts[name] = counts.get(name, 0) + times
        for instruction in self.computations.get(name, {}).values():
            if instruction.opcode == "while":
                body = instruction.attribute("body").lstrip("%")
                self._count(body, times * self.trips(instruction), counts)
            elif instruction.opcode in ("call", "conditional", "async-start"):
                for called in instruction.called:
                    self._count(called, times, counts)

    def trips(self, loop: Instruction) -> int:
        """How often the body of a while runs: as XLA says, else the number that its condition compares with."""
        if known := re.search(r'known_trip_count"?:\{"?n"?:"?(\d+)', loop.attributes):
            return int(known[1])
        numbers = [
            int(instruction.literal)
            for name in self._within(loop.attribute("condition").lstrip("%"))
            for instruction in self.computations[name].values()
            if instruction.opcode == "constant" and instruction.literal.isdigit()
        ]
        return max(numbers, default=1)

    def _within(self, name) -> Iterator[str]:
        """A computation and all that it calls."""
        yield name
        for instruction in self.computations.get(name, {}).values():
            for called in instruction.called:
                if called in self.computations:
                    yield from self._within(called)

    def instructions(self) -> Iterator[tuple[str, Instruction, int]]:
        """(computation, instruction, how often it runs) of all that takes time; fusions are one instruction."""
        for name, times in self.runs.items():
            for instruction in self.computations.get(name, {}).values():
                if instruction.opcode not in FREE:
                    yield name, instruction, times

    def flops(self, computation: str, instruction: Instruction, tile: int = 1) -> float:
        """Operations of the products in an instruction, fused ones too.

        Args:
            computation: that it stands in.
            instruction: any.
            tile: rows and columns of the unit that multiplies: dimensions count as if filled up to a multiple of it.
        """
        if instruction.opcode in ("dot", "convolution"):
            return _product(self.computations[computation], instruction, tile)
        if instruction.opcode != "fusion":
            return 0.0
        return sum(
            self.flops(name, inner, tile)
            for name in instruction.called
            for inner in self.computations.get(name, {}).values()
        )

    def traffic(self, computation: str, instruction: Instruction) -> float:
        """Bytes that an instruction reads from and writes to main memory; of slices only what is sliced."""
        there = self.computations[computation]
        if instruction.opcode in ("dynamic-slice", "slice", "gather"):
            return 2 * _main(instruction.arrays)
        if instruction.opcode == "dynamic-update-slice":
            return 2 * _main(there[instruction.operands[1]].arrays) if len(instruction.operands) > 1 else 0.0
        read = [_main(there[name].arrays) if name in there else 0.0 for name in instruction.operands]
        written = _main(instruction.arrays)
        if instruction.opcode == "fusion" and instruction.called:
            name = instruction.called[0]
            sliced = [self._sliced(name, place) for place in range(len(read))]
            return sum(map(min, read, sliced)) + max(0.0, written - self._kept(name))
        return sum(read) + written

    def _sliced(self, name, place):
        """Bytes that a fused computation reads of its operand at `place`; inf: all."""
        inner = self.computations.get(name, {})
        parameters = (i for i in inner.values() if i.opcode == "parameter" and i.literal == str(place))
        return sum((self._slices(name, parameter.name) for parameter in parameters), 0.0)

    def _slices(self, name, value):
        total = 0.0
        for user in self._users(name).get(value, ()):
            if user.opcode in ("dynamic-slice", "slice", "gather"):
                total += sum(array.bytes for array in user.arrays)
            elif user.opcode == "dynamic-update-slice" and user.operands[0] == value:
                continue
            elif user.opcode in ("bitcast", "reshape"):
                total += self._slices(name, user.name)
            elif user.opcode == "fusion" and user.called:
                total += sum(self._sliced(user.called[0], k) for k, o in enumerate(user.operands) if o == value)
            else:
                return math.inf
        return total

    def _users(self, name):
        """{value: instructions that read it} of a computation."""
        if name not in self._used:
            users = self._used[name] = {}
            for instruction in self.computations.get(name, {}).values():
                for operand in dict.fromkeys(instruction.operands):
                    users.setdefault(operand, []).append(instruction)
        return self._used[name]

    def _kept(self, name):
        """Bytes of a fused computation's result that it leaves as they were: all but the updated slices."""
        total, inner = 0.0, self.computations.get(name, {})
        for instruction in inner.values():
            if instruction.opcode == "fusion" and instruction.called:
                total += self._kept(instruction.called[0])
            elif instruction.opcode == "dynamic-update-slice" and instruction.operands[1] in inner:
                updated = sum(array.bytes for array in inner[instruction.operands[1]].arrays)
                total += sum(array.bytes for array in instruction.arrays) - updated
        return total


def _parse(line):
    """The Instruction of a line, or None."""
    left, equals, right = line.strip().partition(" = ")
    if not equals:
        return None
    root, left = left.startswith("ROOT "), left.removeprefix("ROOT ")
    right = re.sub(r"/\*.*?\*/", "", right)
    end = _closing(right, 0) + 1 if right.startswith("(") else right.index(" ")
    arrays = tuple(
        Array(dtype, tuple(map(int, filter(None, shape.split(",")))), bool(_ON_CHIP.search(layout)))
        for dtype, shape, layout in _SHAPE.findall(right[:end])
    )
    rest = right[end:].strip()
    begin = rest.find("(")
    if begin < 0:
        return None
    stop = _closing(rest, begin)
    inside = rest[begin + 1 : stop]
    operands = tuple(re.findall(r"%([\w.\-]+)", inside))
    return Instruction(left.lstrip("%"), arrays, rest[:begin], operands, inside, rest[stop + 1 :], root)


def _closing(text, begin):
    depth = 0
    for place in range(begin, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if not depth:
            return place
    return len(text)


def _main(arrays):
    return sum(array.bytes for array in arrays if not array.on_chip)


def _up(size, tile):
    return -(-size // tile) * tile


def _product(there, instruction, tile):
    """Operations of a dot or of the convolution that TPUs have in its place."""
    if any(name not in there for name in instruction.operands[:2]) or not instruction.arrays:
        return 0.0
    left, right = (there[name].arrays[0].shape for name in instruction.operands[:2])
    out = instruction.arrays[0].shape
    if instruction.opcode == "dot":
        dims = {key: _numbers(instruction.attribute(key)) for key in (
            "lhs_contracting_dims", "lhs_batch_dims", "rhs_contracting_dims", "rhs_batch_dims")}  # fmt: skip
        contract = math.prod(left[i] for i in dims["lhs_contracting_dims"])
        batch = math.prod(left[i] for i in dims["lhs_batch_dims"])
        columns = math.prod(right) // max(1, batch * math.prod(right[i] for i in dims["rhs_contracting_dims"]))
        rows = math.prod(out) // max(1, batch * columns)
        return 2.0 * batch * rows * _up(contract, tile) * _up(columns, tile)
    labels = re.match(r"(\w+)_(\w+)->(\w+)", instruction.attribute("dim_labels"))
    if labels is None:
        return 0.0
    kernel = dict(zip(labels[2], right, strict=True))
    image, result = dict(zip(labels[1], left, strict=True)), dict(zip(labels[3], out, strict=True))
    total = 2.0 * result["b"] * _up(kernel["i"], tile) * _up(result["f"], tile)
    for number, axis in enumerate(sorted(key for key in result if key.isdigit())):
        total *= _valid(image[axis], kernel[axis], result[axis], _window(instruction, number))
    groups = instruction.attribute("batch_group_count")
    return total / int(groups) if groups else total


def _numbers(text):
    return [int(part) for part in text.split(",") if part.strip()]


def _window(instruction, number):
    """{"stride", "pad", "lhs_dilate", "rhs_dilate"} of one spatial dimension of a convolution."""
    text = instruction.attribute("window")
    found = {"stride": 1, "lhs_dilate": 1, "rhs_dilate": 1, "pad": 0}
    for key, values in re.findall(r"(\w+)=([\w\-]+)", text):
        if key in found:
            value = values.split("x")[number]
            found[key] = int(value.split("_")[0])
    return found


def _valid(image, kernel, result, window):
    """Pairs of places of the output and the kernel that meet a value of the image, and no filling between values."""
    count, dilated = 0, (image - 1) * window["lhs_dilate"] + 1
    for k in range(kernel):
        offset = k * window["rhs_dilate"] - window["pad"]
        if window["lhs_dilate"] == 1:  # all places from the first to the last that lie in the image
            first = max(0, math.ceil(-offset / window["stride"]))
            last = min(result - 1, (dilated - 1 - offset) // window["stride"])
            count += max(0, last - first + 1)
            continue
        for place in range(result):
            at = place * window["stride"] + offset
            count += 0 <= at < dilated and at % window["lhs_dilate"] == 0
    return count
