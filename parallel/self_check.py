"""Known programs, run at start: a backend that computes wrongly is refused, a kernel that does is not used.

jaxlib 0.10.2 fuses a jitted vmap of a product, square and sum wrongly on CPU (jax issue 39103).
"""

import jax
import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError
from cloze.models import attention, random_bits
from cloze.models.backends import choice
from cloze.models.inputs import Visibility
from cloze.parallel.processes import decide

OWN_KERNELS = ("flash",)  # of models.backends; those of libraries are tested by their makers
TOLERANCE = 0.05  # of the largest number: bfloat16 has 3 digits, and a wrong mask or block is wrong by far more


def _program(weights, rows):
    def one(row):
        return jnp.sum(jnp.square(row @ weights))

    return jax.vmap(one)(rows)


def check_backend():
    """Raises ConfigError if this machine's JAX gives a wrong result for a small known program."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(16, 8)).astype(np.float32)
    rows = rng.normal(size=(12, 16)).astype(np.float32)
    expected = np.square(rows.astype(np.float64) @ weights).sum(axis=1)
    got = np.asarray(jax.jit(_program)(weights, rows))
    grad = np.asarray(jax.jit(jax.grad(lambda w: _program(w, rows).sum()))(weights))
    expected_grad = 2 * rows.T.astype(np.float64) @ (rows @ weights)
    # Accelerators may round f32 products to TF32 or bf16; a wrong program is wrong by far more.
    if not (np.allclose(got, expected, rtol=0.05) and np.allclose(grad, expected_grad, rtol=0.1, atol=1.0)):
        raise ConfigError(
            f"this installation computes wrongly: jax {jax.__version__} on {jax.default_backend()} gave "
            f"{got[0]:.4f} where {expected[0]:.4f} is right. jaxlib 0.10.2 and 0.11.0 are known to; install "
            "'jax>=0.10.1,!=0.10.2,!=0.11.0,<0.13'"
        )
    if jax.default_backend() != "cpu":
        choice.UNFIT.update(decide(unfit_kernels))  # all processes must compile the same program


def unfit_kernels():
    """{name: why} of the kernels of our own that differ from the reference on these devices, or fail.

    `auto` leaves out what is in models.backends.choice.UNFIT.
    """
    found = {}
    for name in OWN_KERNELS:
        try:
            error = _kernel_error(name)
        except ConfigError:  # it says itself that it does not run here
            continue
        except Exception as failure:  # of a compiler or a driver, of any kind
            found[name] = f"fails on these devices: {(str(failure) or repr(failure)).splitlines()[0][:200]}"
            continue
        if not error <= TOLERANCE:
            found[name] = f"differs by {error:.2g} of the largest number from the reference on these devices"
    return found


def _kernel_error(name):
    """The largest error for packed, causal rows with dropout, of outputs and gradients, over the largest number."""
    keys = jax.random.split(jax.random.key(0), 4)
    q, k, v, weight = (jax.random.normal(key, (2, 256, 2, 64), jnp.bfloat16) for key in keys)
    segments = jnp.repeat(jnp.array([[1, 2, 0], [1, 1, 2]]), jnp.array([100, 120, 36]), axis=1)
    visibility = Visibility(causal=True, query_segments=segments, key_segments=segments)
    rule = dict(scale=0.125, dropout=0.1, key=random_bits.key(0, "counter"))

    def run(backend, q, k, v):
        out = attention.attention(q, k, v, visibility, **rule, backend=backend)
        return jnp.sum(out.astype(jnp.float32) * weight), out

    results = []
    for backend in (name, "einsum"):
        step = jax.jit(jax.value_and_grad(lambda *x, b=backend: run(b, *x), argnums=(0, 1, 2), has_aux=True))
        (_, out), gradients = step(q, k, v)
        results.append([np.asarray(x, np.float32) for x in (out, *gradients)])
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(*results, strict=True))
