"""DeBERTa's enhanced mask decoder: the last layer, asked again by states that know their absolute position."""

import jax.numpy as jnp

from cloze.models import axes
from cloze.models.embeddings import Table


def enhanced_decoder(config, turns, contexts, positions):
    """The way through the layers in which the last one runs `turns` times (He et al. 2021, section 3.2).

    Queries begin as the last layer's input with absolute positions added; keys and values are made of that input.

    Args:
        config: ModelConfig.
        turns: how often.
        contexts: models.layers.Context of each block of the pattern.
        positions: int32 [B or 1, T].

    Returns:
        A route, see models.stack.Stack; the model in whose compact method this is called gets the parameter
        "enhanced_decoder_position/embedding".
    """
    table = Table(config.max_positions, config.width, config, axes.POSITIONS, name="enhanced_decoder_position")
    positions_BTD = table(positions)

    def route(run, x_BTD, cache):
        last = config.layers - 1
        x_BTD, states, cache = run(x_BTD, contexts, stop=last, cache=cache)
        y_BTD = x_BTD + positions_BTD.astype(x_BTD.dtype)
        for turn in range(turns):
            # Not frozen: the positions may train although the layer does not.
            y_BTD, _, _ = run(y_BTD, contexts, start=last, sources=x_BTD[None], stream=turn, frozen=0)
        states = None if states is None else jnp.concatenate([states, y_BTD[None]])
        return y_BTD, None, states, cache

    return route
