"""Frozen means absent: a mask by rules splits the parameters into a trainable and a frozen tree."""

import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError
from cloze.models import names
from cloze.training import methods


class Split:
    """Which parameters train, and the way between one tree and its two halves.

    A stacked parameter of which only some layers train is cut: each half holds its own layers.

    Args:
        rules: ordered (pattern, bool) over parameter names; see models.names.match.
        shapes: {name: shape} of all parameters.
        optional: patterns that may match nothing.
    """

    def __init__(self, rules, shapes, optional=()):
        values = names.match(rules, shapes, "trainable", optional=optional)
        bad = {v for value in values.values() for v in np.atleast_1d(value).tolist() if not isinstance(v, bool)}
        if bad:
            raise ConfigError(f"trainable: rules map a pattern to True or False, got {sorted(map(repr, bad))}")
        self.shapes = dict(shapes)
        self.mask = {name: np.atleast_1d(value).astype(bool) for name, value in values.items()}
        if not any(mask.any() for mask in self.mask.values()):
            raise ConfigError("trainable: the rules leave no parameter to train")

    def __call__(self, params):
        """The (trainable, frozen) trees of a full tree; what a half lacks is absent from it."""
        trainable, frozen = {}, {}
        for name, leaf in names.flatten(params).items():
            mask = self.mask[name]
            if mask.all():
                trainable[name] = leaf
            elif not mask.any():
                frozen[name] = leaf
            else:
                runs = _runs(mask)
                trainable[name] = jnp.concatenate([leaf[a:b] for a, b, value in runs if value])
                frozen[name] = jnp.concatenate([leaf[a:b] for a, b, value in runs if not value])
        return names.unflatten(trainable), names.unflatten(frozen)

    def merge(self, trainable, frozen):
        """The full tree of two halves."""
        trainable, frozen = names.flatten(trainable), names.flatten(frozen)
        merged = {}
        for name, mask in self.mask.items():
            if mask.all():
                merged[name] = trainable[name]
            elif not mask.any():
                merged[name] = frozen[name]
            else:
                used = {True: 0, False: 0}
                parts = []
                for start, stop, value in _runs(mask):
                    source = trainable[name] if value else frozen[name]
                    parts.append(source[used[value] : used[value] + stop - start])
                    used[value] += stop - start
                merged[name] = jnp.concatenate(parts)
        return names.unflatten(merged)

    def trainable_shapes(self):
        """{name: shape} of the trainable half."""
        return {
            name: (int(mask.sum()), *self.shapes[name][1:]) if names.is_stacked(name) else self.shapes[name]
            for name, mask in self.mask.items()
            if mask.any()
        }

    def trainable_values(self, values):
        """Of {name: value or value per layer} of all parameters, those of the trainable half."""
        return {
            name: values[name][mask] if names.is_stacked(name) else values[name]
            for name, mask in self.mask.items()
            if mask.any()
        }

    def frozen_layers(self):
        """Bottom layers of each stack that need no backward pass: {"frozen_encoder": k, "frozen_decoder": k}.

        A layer needs none when it is frozen and nothing below it trains: its own embeddings and bias, the token
        table, and for a decoder the encoder whose output it reads. LoRA's factors count as the parameter they adapt;
        networks that compute prefixes or prompts reach down to the first layer.
        """
        masks = [(name.removeprefix("lora/"), mask) for name, mask in self.mask.items()]

        def trains(*prefixes):
            return any(m.any() for name, m in masks if name.startswith(prefixes))

        def bottom(stack):
            layers = [mask for name, mask in masks if name.startswith(f"{stack}/layers/")]
            if not layers or trains("token/", f"{stack}_", "prefix/", "prompt/"):
                return 0
            any_trains = np.logical_or.reduce(layers)
            return int(np.argmax(any_trains)) if any_trains.any() else len(any_trains)

        decoder = 0 if trains("encoder") else bottom("decoder")
        return {"frozen_encoder": bottom("encoder"), "frozen_decoder": decoder}


def _runs(mask):
    """[(start, stop, value)] of the runs of equal values."""
    edges = [0, *(np.flatnonzero(np.diff(mask)) + 1).tolist(), len(mask)]
    return [(a, b, bool(mask[a])) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def of_stage(config, objective, stage, shapes):
    """The Split of a stage of a run.

    Args:
        config: the configuration.
        objective: its objective.
        stage: training.methods.Stage.
        shapes: {name: shape} of all parameters.
    """
    always = tuple((pattern, False) for pattern in objective.frozen)
    return Split((*always, *stage.rules), shapes, methods.optional_patterns(config))


def count(shapes, axis_names, config):
    """Number of parameters; rows that pad the vocabulary or a stack do not count.

    Args:
        shapes: {name: shape}.
        axis_names: {name: logical names of the axes}.
        config: ModelConfig.
    """
    total = 0
    for name, shape in shapes.items():
        sizes = [
            config.vocab_size if axis == "vocab" else size for axis, size in zip(axis_names[name], shape, strict=True)
        ]
        if unused := config.unused_layers(name):
            sizes[0] -= len(unused)
        total += int(np.prod(sizes, dtype=np.int64))
    return total
