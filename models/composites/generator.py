"""A small generator beside the main model: its sizes, what both share, and the tokens that it draws."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp

from cloze.models import names
from cloze.models.build import build, parameters
from cloze.models.composite import Composite
from cloze.models.primitives import CHANGE

TIES = ("embeddings", "all", "none", "disentangled")
EMBEDDINGS = re.compile(r"(token|encoder_embeddings/(position|token_type|norm))/.*")


def narrower(config, width, layers):
    """The ModelConfig of a generator, from that of the main model.

    Embeddings keep their size, so that they can be shared. Heads stay as wide as the main model's as far as that
    divides the width; no model has less than one (Clark et al. 2020, appendix A).

    Args:
        config: ModelConfig of the main model.
        width: the generator's width as a share of the main model's, in (0, 1]; its feed-forward layer as well.
        layers: its layers, likewise.
    """
    changes = dict(layers=max(1, round(layers * config.layers)), heads_out=("mlm",))
    if width != 1:
        size = max(1, round(width * config.width))
        most = max(1, size // config.head_dim)
        heads = next(n for n in range(most, 0, -1) if size % n == 0)
        # The width is rounded first: a third of 768 is 256, and the feed-forward layer four times that.
        ffn = max(1, round(config.ffn * size / config.width))
        changes |= dict(width=size, heads=heads, kv_heads=heads, head_dim=0, ffn=ffn)
    return dataclasses.replace(config, **changes)


def sample(logits_BPV, key_data_B2):
    """One draw of the softmax of each place, int32 [B, P], from a key of each row; without a gradient.

    The largest sum of logit and Gumbel noise is such a draw (the reference's `sample_from_softmax`).
    """

    def draw(logits_PV, key_data):
        return jax.random.categorical(jax.random.wrap_key_data(key_data, impl="threefry2x32"), logits_PV)

    return jax.vmap(draw)(jax.lax.stop_gradient(logits_BPV), key_data_B2).astype(jnp.int32)


class GeneratorPair(Composite):
    """A generator that fills blanks, and a main model that reads the filled text.

    Args:
        generator: ModelConfig of the generator, with the head "mlm".
        config: ModelConfig of the main model.
        main: name of the part that is the main model; the other is "generator".
        tie: what both share. "embeddings": tables of tokens, positions and token types and their norm, as in the
            reference; "all": whatever both have; "none". Shared parameters are stored in the main part.
            "disentangled": the main model reads the generator's token table, without a gradient to it, plus a
            difference of its own that begins at zero and is stored as token/delta (He et al. 2023, section 3.3).
    """

    def __init__(self, generator, config, main, tie):
        super().__init__({"generator": build(generator), main: build(config)}, main, fills="generator")
        self.tie = tie

    @functools.cached_property
    def borrowed(self):
        """Names of the generator's parameters that are stored in the main part."""
        if self.tie not in ("embeddings", "all"):
            return frozenset()
        both = set(parameters(self.parts["generator"]).shapes) & set(parameters(self.parts[self.main]).shapes)
        return frozenset(name for name in both if self.tie == "all" or EMBEDDINGS.fullmatch(name))

    def store(self, params):
        """See Composite."""
        generator, main = names.flatten(params["generator"]), names.flatten(params[self.main])
        kept = {name: leaf for name, leaf in generator.items() if name not in self.borrowed}
        if self.tie == "disentangled":
            main["token/delta"] = jax.tree.map(jnp.zeros_like, main.pop("token/embedding"))
        return {"generator": names.unflatten(kept), self.main: names.unflatten(main)}

    def part(self, params, name):
        """See Composite."""
        module, tree = self.parts[name], params.get(name, {})  # a generator may have nothing of its own
        if name == self.main and self.tie == "disentangled":
            table = jax.lax.stop_gradient(params["generator"]["token"]["embedding"]) + tree["token"]["delta"]
            tree = {**tree, "token": {"embedding": table}}
        elif name == "generator" and self.borrowed:
            main = names.flatten(params[self.main])
            shared = {n: leaf for n, leaf in main.items() if re.sub(f"{CHANGE}$", "kernel", n) in self.borrowed}
            tree = names.unflatten(names.flatten(tree) | shared)
        return module, tree

    def fill(self, params, batch, deterministic, rngs):
        """The generator's answers to a batch, and the text with a draw from them in place of every hidden token.

        Args:
            params: the stored tree.
            batch: a batch of masked language modelling with `sample_key` uint32 [B, 2].
            deterministic, rngs: see `apply`.

        Returns:
            logits_BPV, sampled int32 [B, P], and the main model's batch, with new `tokens`.
        """
        logits_BPV = self.run(params, "generator", batch, deterministic, rngs).logits
        sampled_BP = sample(logits_BPV, batch["sample_key"])
        filled = {name: batch[name] for name in ("segments", "positions", "token_types") if name in batch}
        return logits_BPV, sampled_BP, filled | {"tokens": put(batch, batch["tokens"], sampled_BP)}


def put(batch, array_BT, values_BP):
    """An array over tokens with the values of the hidden ones put in; unused slots change nothing."""
    length = array_BT.shape[1]
    # Unused slots write outside the row, where writes are dropped.
    places_BP = jnp.where(batch["target_weights"] > 0, batch["prediction_positions"], length)
    return jax.vmap(lambda row, places, new: row.at[places].set(new, mode="drop"))(array_BT, places_BP, values_BP)
