"""How parameters are born: the standard deviation depends on the parameter's role."""

import jax
import jax.numpy as jnp

ROLES = ("embedding", "query", "key_value", "attention_output", "ffn_in", "ffn_output", "head", "relative")


def initializer(config, role):
    """An initializer `(key, shape, dtype) -> array` for a parameter of one of ROLES.

    normal, truncated_normal: initializer_std everywhere (BERT truncates at two deviations).
    scaled_residual: GPT-2's, where matrices that write to the residual stream have std / sqrt(2 * layers).
    small: NeoX's, sqrt(2 / (5 * width)) (Nguyen and Salazar 2019), and 2 / (layers * sqrt(width)) for those matrices.
    xavier_uniform: Glorot and Bengio's for matrices, deviation 1/sqrt(width) for tables (the original Transformer).
    t5: deviations that stand in for the missing 1/sqrt(head size) of the attention scores (mesh_tensorflow).
    """
    if role not in ROLES:
        raise ValueError(f"unknown role {role!r}; known: {ROLES}")
    if config.initializer == "truncated_normal":
        return jax.nn.initializers.truncated_normal(config.initializer_std)
    if config.initializer == "xavier_uniform":
        if role not in ("embedding", "relative"):
            return jax.nn.initializers.xavier_uniform()
        return jax.nn.initializers.normal(config.width**-0.5)
    std, depth = config.initializer_std, max(config.layers, config.decoder_layers)
    to_residual = role in ("attention_output", "ffn_output")
    if config.initializer == "scaled_residual" and to_residual:
        std /= (2 * depth) ** 0.5
    if config.initializer == "small":
        std = 2 / depth / config.width**0.5 if to_residual else (2 / 5 / config.width) ** 0.5
    if config.initializer == "t5":
        d = config.width
        std = {
            "embedding": 1.0,
            "query": (d * config.head_dim) ** -0.5,
            "key_value": d**-0.5,
            "attention_output": (config.heads * config.head_dim) ** -0.5,
            "ffn_in": d**-0.5,
            "ffn_output": config.ffn**-0.5,
            "head": d**-0.5,
            "relative": d**-0.5,
        }[role]
    return jax.nn.initializers.normal(std)


def padded_rows(init, rows):
    """Draws the first `rows` rows with `init` and leaves the padding rows of a table at zero."""

    def draw(key, shape, dtype=jnp.float32):
        return jnp.pad(init(key, (rows, *shape[1:]), dtype), [(0, shape[0] - rows)] + [(0, 0)] * (len(shape) - 1))

    return draw
