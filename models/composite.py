"""Several models that train as one: a generator with a discriminator, a student with a teacher.

A composite is no module of its own. It has what training needs of one: `config`, `init` and `apply` over a tree whose
top level names the parts. Parts may share parameters; each is stored once.
"""

import abc

import jax
import jax.numpy as jnp

from cloze.models.build import abstract, parameters_of


class Composite(abc.ABC):
    """Named models over one tree of parameters, "generator/...", "discriminator/...".

    Args:
        parts: {name: Flax module}.
        main: the part that the training is for, which other verbs load and export.
        fills: the part that reads [MASK] and says what was there.

    Attributes:
        parts, main, fills: as given.
        config: ModelConfig of the main part.
    """

    def __init__(self, parts, main, fills):
        self.parts, self.main, self.fills = dict(parts), main, fills
        self.config = self.parts[main].config

    def init(self, key, batch):
        """{"params": tree} of new parameters; of `batch` only the shape of `tokens` matters."""
        tokens = jnp.zeros(batch["tokens"].shape, jnp.int32)
        params = {
            name: part.init(jax.random.fold_in(key, number), {"tokens": tokens})["params"]
            for number, (name, part) in enumerate(self.parts.items())
        }
        return {"params": self.store(params)}

    def parameters(self):
        """See models.build."""
        return parameters_of(jax.eval_shape(self.store, {name: abstract(part) for name, part in self.parts.items()}))

    def store(self, params):
        """The tree that is kept, from whole trees of all parts: what parts share is in one of them only."""
        return params

    def part(self, params, name):
        """One part on its own: (its module, its whole tree of parameters)."""
        return self.parts[name], params[name]

    def run(self, params, name, batch, deterministic, rngs, **options):
        """The Outputs of one part; each part has random bits of its own for dropout."""
        module, tree = self.part(params, name)
        number = list(self.parts).index(name)
        rngs = None if rngs is None else {stream: jax.random.fold_in(key, number) for stream, key in rngs.items()}
        return module.apply({"params": tree}, batch, deterministic, rngs=rngs, **options)

    @abc.abstractmethod
    def apply(self, variables, batch, deterministic=True, rngs=None):
        """Runs the parts.

        Args:
            variables: {"params": the stored tree}.
            batch: see models.inputs.
            deterministic: False draws dropout from rngs["dropout"].
            rngs: {"dropout": key} or None.

        Returns:
            Outputs, or whatever the objective's loss reads.
        """
