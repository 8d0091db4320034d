"""What each layer is: `layer_types` of config.json, as the pattern of a ModelConfig and back."""

from collections.abc import Mapping, Sequence
from typing import Any

from cloze import models
from cloze.errors import ConfigError
from cloze.models.config import BlockSpec

FULL, SLIDING = "full_attention", "sliding_attention"


def read(types: Sequence[str], layers: int, options: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The fields of ModelConfig that give each layer the options of its type.

    Args:
        types: of the layers, from the bottom.
        layers: how many there are.
        options: {type: {option: value}}, the same options for each type.

    Returns:
        The options of the first layer, and as `pattern` how others differ, in as few blocks as repeat to these layers.

    Raises:
        ConfigError: a type that is not in `options`, or not one type a layer.
    """
    if unknown := sorted(set(types) - set(options)):
        raise ConfigError(
            f"config.json: layer_types with {', '.join(unknown)} are not supported, expected {' or '.join(options)}"
        )
    if len(types) != layers:
        raise ConfigError(f"config.json: layer_types has {len(types)} entries for {layers} layers: expected as many")
    blocks = [options[kind] for kind in types]
    period = next(n for n in range(1, layers + 1) if all(blocks[i] == blocks[i % n] for i in range(layers)))
    first = blocks[0]
    differing = [{name: value for name, value in block.items() if value != first[name]} for block in blocks[:period]]
    return {**first, "pattern": tuple(differing) if period > 1 else ()}


def types(config: models.ModelConfig) -> list[str]:
    """The type of each layer: a layer with a window is a sliding one."""
    return [SLIDING if config.block(layer).window else FULL for layer in range(config.layers)]


def blocks(config: models.ModelConfig) -> dict[str, BlockSpec]:
    """{type: the lowest block of that type}. Formats have one of each; interop.settings refuses a model with more."""
    specs = [config.block(layer) for layer in range(config.layers)]
    return dict(zip(reversed(types(config)), reversed(specs), strict=True))


def window(config: models.ModelConfig) -> int | None:
    """The window of the sliding layers; None: there are none."""
    return blocks(config)[SLIDING].window if SLIDING in types(config) else None
