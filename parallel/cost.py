"""What a compiled step costs: floating-point operations, memory, and the machine's rate to hold them against."""

import math
import time

import jax
import jax.numpy as jnp
from jax.extend import core as jax_core

from cloze.parallel import chips


def count_flops(jaxpr):
    """Floating-point operations of all matrix products in a jaxpr, loops counted as often as they run.

    A product [m, k] x [k, n] is 2mkn operations. Only what is written in the program counts, so that scoring
    masked positions only, frozen layers and recomputation show as they are.

    Args:
        jaxpr: a (closed) jaxpr, such as `jitted.trace(...).jaxpr`.

    Returns:
        int.
    """
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    total = 0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "dot_general":
            total += _product(equation)
            continue
        if name.startswith(("dot_product_attention_fwd", "dot_product_attention_bwd")):
            total += _fused_attention(equation)
            continue
        if name == "pallas_call":
            total += _kernel(equation)
            continue
        inner = [count_flops(j) for j in _inner(equation.params)]
        if name == "shard_map":  # what each device does
            total += equation.params["mesh"].size * sum(inner)
        elif name == "scan":
            total += equation.params["length"] * sum(inner)
        elif name == "cond":
            total += max(inner, default=0)
        else:
            total += sum(inner)
    return total


def _product(equation):
    left, right = (v.aval.shape for v in equation.invars)
    (contract_left, _), (batch_left, _) = equation.params["dimension_numbers"]
    contract = math.prod(left[i] for i in contract_left)
    batch = math.prod(left[i] for i in batch_left)
    return 2 * batch * contract * (math.prod(left) // (batch * contract)) * (math.prod(right) // (batch * contract))


def _fused_attention(equation):
    """cuDNN's attention is one opaque operation: two products forward, five backward (it makes the scores again)."""
    (B, T, H, E), (_, S, _, _) = (v.aval.shape for v in equation.invars[:2])
    return (4 if "fwd" in equation.primitive.name else 10) * B * T * S * H * E


def _kernel(equation):
    """A Pallas kernel's operations as it states them, else those of its body for each place of its grid."""
    if equation.params.get("cost_estimate") is not None:
        return equation.params["cost_estimate"].flops
    return math.prod(equation.params["grid_mapping"].grid) * sum(count_flops(j) for j in _inner(equation.params))


def _inner(params):
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, (jax_core.Jaxpr, jax_core.ClosedJaxpr)):
                yield item


def peak_rate(dtype):
    """(FLOP/s of one device for matrix products in `dtype`, where the figure comes from)."""
    chip = chips.of_kind(jax.devices()[0].device_kind)
    if chip is not None:
        return chip.rate(dtype), f"the data sheet of {chip.name}"
    return measured_rate(dtype), "a matrix product timed at start"


def measured_rate(dtype, size=1536, rounds=4):
    """FLOP/s of a square matrix product on one device, the best of several rounds."""
    x = jnp.ones((size, size), dtype)
    product = jax.jit(lambda a: a @ a)
    product(x).block_until_ready()
    best = math.inf
    for _ in range(rounds):
        start = time.perf_counter()
        product(x).block_until_ready()
        best = min(best, time.perf_counter() - start)
    # Fake devices of one CPU share it.
    sharing = jax.local_device_count() if jax.default_backend() == "cpu" else 1
    return 2 * size**3 / best / sharing


def memory(compiled):
    """Bytes per device of a compiled program: {"arguments", "temporaries", "total"}, or None where unknown."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    arguments, temporaries = analysis.argument_size_in_bytes, analysis.temp_size_in_bytes
    outputs = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return {"arguments": arguments, "temporaries": temporaries, "total": arguments + temporaries + outputs}


def compiled_line(rows, compiled, flops, seconds):
    """A line for the console on a compiled step.

    Args:
        rows: {name: array} that it is for.
        compiled: the step.
        flops: its operations over all devices.
        seconds: that compiling took.
    """
    shape = next((list(rows[name].shape) for name in ("tokens", "features") if name in rows), "")
    line = f"Compiled the step for rows of {shape} in {seconds:.1f} s: {human(flops)}FLOP"
    if sizes := memory(compiled):
        line += ", per device " + ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in sizes.items())
    return line


def human(number):
    """12345 -> "12.35k"."""
    for unit, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size:
            return f"{number / size:.4g}{unit}"
    return f"{number:.4g}"
