"""A traced program as a list of operations over values, and along which axes of the mesh each value is cut.

Calls are written out, loops have a list of their own. How a value is cut follows from how the program's inputs and
outputs are placed and from what it constrains on the way, as XLA's partitioner does it, in far less detail.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import numpy as np
from jax.extend import core as jax_core

ELEMENTWISE = frozenset(
    "abs add add_any and atan2 ceil clamp convert_element_type copy cos custom_lin div eq erf erf_inv erfc exp exp2 "
    "expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max min mul ne neg nextafter not or pow "
    "population_count reduce_precision rem round rsqrt select_n shift_left shift_right_arithmetic shift_right_logical "
    "sign sin sqrt square stop_gradient sub tan tanh xor".split()
)
VIEWS = frozenset(
    "broadcast_in_dim copy_p dynamic_slice expand_dims iota optimization_barrier pad reshape rev "
    "sharding_constraint slice split squeeze transpose".split()
)
LOOPS = ("scan", "while", "cond")


@dataclasses.dataclass(eq=False)
class Value:
    """An array between two operations.

    Attributes:
        shape: over all devices.
        itemsize: bytes of an element.
        cut: for each dimension the names of the mesh axes that it is cut along.
        free: it takes no memory of its own: it is there all the time, or takes the place of what was.
        rigid: a kernel reads or writes it, so that its dimensions lie in memory in their order.
    """

    shape: tuple[int, ...]
    itemsize: int
    cut: list[tuple[str, ...]]
    free: bool = False
    rigid: bool = False

    def bytes(self, mesh: dict[str, int], without: tuple[str, ...] = (), tile: tuple[int, int] = (1, 1)) -> float:
        """Bytes on one device.

        Args:
            mesh: {axis: size}.
            without: axes along which it is whole.
            tile: sides that the last two dimensions are filled up to. Where the compiler is free to order dimensions,
                those of one place come first.
        """
        sizes = [
            size / math.prod(mesh[axis] for axis in names if axis not in without)
            for size, names in zip(self.shape, self.cut, strict=True)
        ]
        if tile == (1, 1):
            return math.prod(sizes) * self.itemsize
        if not self.rigid:
            sizes = [size for size in sizes if size > 1]
        for place, side in zip((-1, -2), reversed(tile), strict=True):
            if len(sizes) > 1:
                sizes[place] = math.ceil(sizes[place] / side) * side
        return math.prod(sizes) * self.itemsize

    def place(self, cut) -> None:
        """Takes what is new of a placement: an axis cuts one dimension, which is the first that asks for it."""
        used = {axis for names in self.cut for axis in names}
        for number, names in enumerate(cut):
            if not self.cut[number]:
                self.cut[number] = tuple(axis for axis in names if axis not in used)
                used.update(self.cut[number])


@dataclasses.dataclass(eq=False)
class Operation:
    """One step of a program; `inputs` are None for constants in the text."""

    name: str
    inputs: list[Value | None]
    outputs: list[Value]
    params: dict[str, Any]
    bodies: list["Flow"]


class Flow:
    """The operations of a jaxpr.

    Args:
        jaxpr: jax.extend.core.Jaxpr.

    Attributes:
        inputs, outputs: Values; outputs may be None.
        operations: in order.
    """

    def __init__(self, jaxpr):
        self.operations: list[Operation] = []
        known: dict[Any, Value] = {}
        self.constants = [_value(var, known) for var in jaxpr.constvars]
        self.inputs = [_value(var, known) for var in jaxpr.invars]
        self._write_out(jaxpr, known)
        self.outputs = [_value(var, known) for var in jaxpr.outvars]

    def _write_out(self, jaxpr, known):
        for equation in jaxpr.eqns:
            name, inputs = equation.primitive.name, [_value(var, known) for var in equation.invars]
            inner = list(inner_jaxprs(equation.params))
            if name in LOOPS:
                outputs = [_value(var, known) for var in equation.outvars]
                bodies = [Flow(body) for body in inner]
                self.operations.append(Operation(name, inputs, outputs, equation.params, bodies))
            elif name == "shard_map":  # its arrays are those of one device
                outputs, body = [_value(var, known) for var in equation.outvars], Flow(inner[0])
                for value in filter(None, body.outputs):
                    value.free = True  # it is counted outside
                self.operations.append(Operation(name, inputs, outputs, equation.params, [body]))
            elif inner and len(inner[0].invars) == len(inputs) and len(inner[0].outvars) == len(equation.outvars):
                body, within = inner[0], {}
                for var, value in zip(body.invars, inputs, strict=True):
                    within[var] = value
                self._write_out(body, within)
                for var, result in zip(equation.outvars, body.outvars, strict=True):
                    known[var] = _value(result, within)
            else:
                outputs = [_value(var, known) for var in equation.outvars]
                self.operations.append(Operation(name, inputs, outputs, equation.params, []))
                if name == "pallas_call":
                    for value in filter(None, (*inputs, *outputs)):
                        value.rigid = True

    def spread(self) -> None:
        """Finds how all values are cut, from those that are known to be."""
        for operation in self.operations:
            _forward(operation)
        for operation in reversed(self.operations):
            _backward(operation)
        for operation in self.operations:
            _forward(operation)


def inner_jaxprs(params):
    """The jaxprs among the parameters of an equation."""
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, jax_core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, jax_core.Jaxpr):
                yield item


def _value(var, known):
    if isinstance(var, jax_core.Literal):
        return None
    if var not in known:
        shape = tuple(getattr(var.aval, "shape", ()))
        # What lies in the host's memory takes none of a device.
        there = getattr(var.aval, "memory_space", None) != jax.memory.Space.Host
        itemsize = _itemsize(getattr(var.aval, "dtype", None)) if there else 0
        known[var] = Value(shape, itemsize, [()] * len(shape))
    return known[var]


@functools.cache
def _itemsize(dtype):
    try:
        return np.dtype(dtype).itemsize
    except TypeError:  # random keys
        return 8


def _forward(operation):
    """Places the outputs by the inputs."""
    name, params, outputs = operation.name, operation.params, operation.outputs
    inputs = [value for value in operation.inputs if value is not None]
    if name == "scan":
        _through_scan(operation)
    elif name == "sharding_constraint":
        outputs[0].cut = _of_sharding(params["sharding"], outputs[0].shape)
    elif name == "shard_map":
        for value, spec in zip(outputs, params["out_specs"], strict=True):
            value.place(_of_spec(spec, value.shape))
    elif name == "dot_general":
        outputs[0].place(_of_product(operation))
    elif name == "transpose":
        outputs[0].place([inputs[0].cut[i] for i in params["permutation"]])
    elif name == "broadcast_in_dim" and inputs:
        cut = [()] * len(outputs[0].shape)
        for source, target in enumerate(params["broadcast_dimensions"]):
            if inputs[0].shape[source] == outputs[0].shape[target]:
                cut[target] = inputs[0].cut[source]
        outputs[0].place(cut)
    elif name in ("reshape", "squeeze", "expand_dims") and inputs:
        outputs[0].place(_of_reshape(inputs[0].shape, inputs[0].cut, outputs[0].shape))
    elif name.startswith(("reduce_", "argm")) and "axes" in params and inputs:
        kept = [cut for i, cut in enumerate(inputs[0].cut) if i not in params["axes"]]
        for value in outputs:
            if len(kept) == len(value.shape):
                value.place(kept)
    else:
        for value in outputs:
            for source in inputs:
                _match(source, value)


def _match(source, value):
    """Gives `value` the placement of `source` where sizes at the same place, counted from the front, agree."""
    if len(source.shape) == len(value.shape):
        value.place([c if a == b else () for c, a, b in zip(source.cut, source.shape, value.shape, strict=True)])
    elif source.shape and value.shape and source.shape[0] == value.shape[0] and source.shape[0] > 1:
        value.place([source.cut[0]])


def _backward(operation):
    """Places the inputs by the outputs, where nothing else is known of them."""
    name, params = operation.name, operation.params
    if name == "scan":
        _through_scan(operation, backward=True)
        return
    if name == "shard_map":
        for value, spec in zip(operation.inputs, params["in_specs"], strict=True):
            if value is not None:
                value.place(_of_spec(spec, value.shape))
        return
    for value in operation.inputs:
        if value is None or not operation.outputs:
            continue
        output = operation.outputs[0]
        if name == "transpose":
            cut = [()] * len(value.shape)
            for place, source in enumerate(params["permutation"]):
                cut[source] = output.cut[place]
            value.place(cut)
        elif name in ("reshape", "squeeze", "expand_dims"):
            value.place(_of_reshape(output.shape, output.cut, value.shape))
        elif name in ELEMENTWISE or name in ("sharding_constraint", "concatenate", "split", "optimization_barrier"):
            for one in operation.outputs:
                _match(one, value)


def _through_scan(operation, backward=False):
    """Hands placements into the body of a scan and out of it."""
    params, (body,) = operation.params, operation.bodies
    first, carries = _counts_of_scan(params)
    pairs = []  # (outside, inside, whether the outside has an axis more)
    for number, (outside, inside) in enumerate(zip(operation.inputs, body.inputs, strict=True)):
        pairs.append((outside, inside, number >= first + carries))
    for number, (outside, inside) in enumerate(zip(operation.outputs, body.outputs, strict=True)):
        pairs.append((outside, inside, number >= carries))
    _exchange(pairs)
    for _ in range(2 if carries and not backward else 1):
        for start, end in zip(body.inputs[first : first + carries], body.outputs[:carries], strict=True):
            if start is not None and end is not None:
                start.place(end.cut)
                end.place(start.cut)
        body.spread()
    _exchange(pairs)


def _counts_of_scan(params):
    """(constants, carried values) of a scan; newer versions of JAX keep them as trees."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    constants, carried, _ = params["ft_in"].unpack()
    return len(constants), len(carried)


def _exchange(pairs):
    for outside, inside, stacked in pairs:
        if outside is None or inside is None:
            continue
        inside.place(outside.cut[1:] if stacked else outside.cut)
        outside.place([(), *inside.cut] if stacked else inside.cut)


def _of_sharding(sharding, shape):
    return _of_spec(getattr(sharding, "spec", ()), shape)


def _of_spec(spec, shape):
    spec = tuple(spec)
    spec += (None,) * (len(shape) - len(spec))
    return [_names(part) for part in spec[: len(shape)]]


def _names(part):
    if part is None or not isinstance(part, (str, tuple)):
        return ()
    return (part,) if isinstance(part, str) else tuple(part)


def _of_product(operation):
    left, right = operation.inputs
    if left is None or right is None:
        return [()] * len(operation.outputs[0].shape)
    (contract_left, contract_right), (batch_left, batch_right) = operation.params["dimension_numbers"]
    cut = [left.cut[i] or right.cut[j] for i, j in zip(batch_left, batch_right, strict=True)]
    cut += [left.cut[i] for i in range(len(left.shape)) if i not in contract_left and i not in batch_left]
    return cut + [right.cut[j] for j in range(len(right.shape)) if j not in contract_right and j not in batch_right]


def gathered(operation, mesh, tile=(1, 1)) -> float:
    """Bytes of the operands of a product that are whole on each device while it runs, though they lie cut.

    Where an axis cuts both operands in dimensions that do not meet, the smaller one is gathered: so parameters along
    `fsdp` are, whose rows are the batch's.
    """
    left, right = operation.inputs
    if left is None or right is None:
        return 0.0
    (contract_left, contract_right), (batch_left, batch_right) = operation.params["dimension_numbers"]
    pairs = zip((*contract_left, *batch_left), (*contract_right, *batch_right), strict=True)
    together = {axis for i, j in pairs for axis in left.cut[i] if axis in right.cut[j]}
    apart = {axis for names in left.cut for axis in names} & {axis for names in right.cut for axis in names} - together
    apart = tuple(axis for axis in apart if mesh[axis] > 1)
    return min(value.bytes(mesh, apart, tile) for value in (left, right)) if apart else 0.0


def _of_reshape(shape, cut, new):
    """Placement after a reshape: of dimensions that are joined or divided, the first keeps the axes."""
    result, i, j = [()] * len(new), 0, 0
    while i < len(shape) and j < len(new):
        a, b, first, start = shape[i], new[j], i, j
        while a != b:
            if a < b:
                i += 1
                if i >= len(shape):
                    return result
                a *= shape[i]
            else:
                j += 1
                if j >= len(new):
                    return result
                b *= new[j]
        names = [c for c, size in zip(cut[first : i + 1], shape[first : i + 1], strict=True) if size > 1]
        targets = [k for k in range(start, j + 1) if new[k] > 1]
        if len(names) == len(targets):
            for k, c in zip(targets, names, strict=True):
                result[k] = c
        elif targets and names:
            result[targets[0]] = names[0] or next((c for c in names if c), ()) if len(targets) == 1 else names[0]
        i, j = i + 1, j + 1
    return result
