"""A known program, run at start: refuses a backend that computes wrongly.

jaxlib 0.10.2 fuses a jitted vmap of a product, square and sum wrongly on CPU (jax issue 39103).
"""

import jax
import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError


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
