"""A stack of layers whose parameters are stacked along a leading `layers` axis.

Layers repeat a pattern of blocks. The same stacked parameters run as one loop over the pattern's periods, which
compiles in the time of one period, or unrolled. The bottom `frozen` layers run forward only: nothing of theirs is kept
for a backward pass. Parameters that lie `Apart` run unrolled.
"""

import functools
import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from flax.core import meta, unfreeze
from flax.core.scope import LazyRng, Scope
from jax.ad_checkpoint import checkpoint_name

from cloze.models import axes
from cloze.models.dropout import dropout
from cloze.models.inputs import Visibility
from cloze.models.layers import Layer
from cloze.models.platforms import platform
from cloze.models.primitives import Norm

UNROLLED = 16  # layers of a stack that are unrolled on a CPU, unless model.scan says otherwise
INPUT = "layer_input"  # what checkpoint policies call it
REMAT_POLICIES = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
    "offload": jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[INPUT],
        offload_src="device",
        offload_dst="pinned_host",
    ),
}

_DRAWN = {}  # {(ModelConfig, whether layers cross): Flax's counts of numbers drawn in a layer, after its first draw}


@struct.dataclass
class Apart:
    """The parameters of a stack with one tree for each layer, in place of stacked ones. See `apart`.

    Attributes:
        layers: tuple of trees; of a stack with shared layers, of one.
    """

    layers: tuple

    def __getitem__(self, which):
        """The tree of one layer, or a slice of all."""
        return Apart(self.layers[which]) if isinstance(which, slice) else self.layers[which]


def apart(stacked):
    """The parameters `layers` of a stack, each layer by itself.

    A slice of a stacked parameter is a copy. A loop that runs the stack many times, as one over tokens does, would
    copy all of them each time; of these it copies none.
    """
    count = len(jax.tree.leaves(stacked)[0])
    return Apart(tuple(jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(count)))


class Stack(nn.Module):
    """Layers, then the final norm.

    Attributes:
        config: ModelConfig.
        layers: number of layers.
        frozen: number of bottom layers through which no gradient flows; everything below must be frozen, too.
        crosses: whether layers have cross-attention, in at least one of the stack's uses.
    """

    config: Any
    layers: int
    frozen: int = 0
    crosses: bool = False

    @nn.compact
    def __call__(self, x_BTD, contexts, deterministic, collect=False, route=None, cache=None):
        """Runs the stack.

        Args:
            x_BTD: input of the first layer.
            contexts: models.layers.Context of each block of the pattern.
            deterministic: whether there is no dropout.
            collect: also return the states between layers.
            route: another way through the layers than once from the bottom to the top, or None. It is called as
                route(run, x_BTD, cache) and returns what this method does, before the final norm; `run` is as `_run`
                with the first two arguments given.
            cache: models.cache.Cache, or None.

        Returns:
            (output [B, T, D], output of a second stream [B, P, D] or None, states, the next cache or None). States
            with `collect` are [layers + 1, B, T, D]: the input of the first layer and the output of each layer (before
            the final norm); else None.
        """
        c = self.config
        if not self.has_variable("params", "layers"):
            self.param("layers", self._new_parameters, x_BTD, contexts[0])
        key = None if deterministic else self.make_rng("dropout")

        def run(x_BTD, contexts, **options):
            return self._run(self._runner(deterministic, key), x_BTD, contexts, **{"collect": collect, **options})

        if route is None:
            x_BTD, states, cache = run(x_BTD, contexts, cache=cache)
            y_BPD = None
        else:
            x_BTD, y_BPD, states, cache = route(run, x_BTD, cache)
        cache = None if cache is None else cache.advance(x_BTD.shape[1])
        norm = Norm(c, name="final_norm") if c.final_norm else lambda x: x
        x_BTD = dropout(self, norm(x_BTD), c.final_dropout, deterministic)
        if y_BPD is not None:
            y_BPD = dropout(self, norm(y_BPD), c.final_dropout, deterministic)
        return x_BTD, y_BPD, states if collect else None, cache

    @property
    def layers_apart(self):
        """Whether each layer's parameters are given by themselves."""
        return isinstance(self.get_variable("params", "layers"), Apart)

    def _new_parameters(self, _, x_BTD, context):
        """Each layer's parameters from a key of its own, stacked."""
        if self.crosses:
            context = context.replace(memory=x_BTD, memory_visibility=Visibility())
        rng = self.scope.rngs["params"]

        def draw(key, counters):
            scope = Scope({}, {"params": LazyRng(key, (*rng.suffix, "layers"))}, mutable=True)
            scope.rng_counters = scope.rng_counters if counters is None else _copied(counters)
            Layer(self.config, self.config.blocks[0], parent=scope)(x_BTD, context, True)
            return scope

        def one(key):
            # The second draw is kept, as nn.scan does: what a seed gives stays the same. Where it begins depends on
            # which parameters there are, so the first one is made once for each model.
            if (self.config, self.crosses) not in _DRAWN:
                _DRAWN[self.config, self.crosses] = draw(key, None).rng_counters
            return unfreeze(draw(key, _DRAWN[self.config, self.crosses]).mutable_variables()["params"])

        stacked = jax.vmap(one)(jax.random.split(rng.rng, 1 if self.config.shared_layers else self.layers))
        return meta.add_axis(stacked, 0, {nn.PARTITION_NAME: axes.LAYERS})

    def _runner(self, deterministic, key):
        """One layer as a function of (its spec, variables, number, which stream, states, Context, source, cache)."""

        def apply(spec, variables, index, stream, x, context, source, cache):
            layer = Layer(self.config, spec, parent=None)
            rngs = None if key is None else {"dropout": jax.random.fold_in(jax.random.fold_in(key, index), stream)}
            return layer.apply(variables, x, context, deterministic, source, cache, rngs=rngs)

        def skip(spec, variables, index, stream, x, context, source, cache):
            return x, cache  # while parameters are made, nothing is asked of them but their shapes

        return skip if self.is_initializing() else apply

    def _run(
        self, apply, x_BTD, contexts, *, collect, start=0, stop=None, sources=None, stream=0, frozen=None, cache=None
    ):
        """Layers `start` to `stop`.

        Args:
            apply: of `_runner`.
            x_BTD, contexts, collect, cache: as above.
            start, stop: numbers of layers; None: to the top.
            sources: [stop - start, B, S, D], states that each layer's keys and values are made of; None: its queries'.
            stream: number that tells the dropout of several runs apart.
            frozen: layers from the bottom without a gradient; None: the stack's.

        Returns:
            (output [B, T, D], states [1 + stop - start, B, T, D] or None, the cache or None).
        """
        c = self.config
        stop = self.layers if stop is None else stop
        frozen = self.frozen if frozen is None else frozen
        frozen = stop if frozen and c.shared_layers else min(frozen, stop)
        first_alone = 0 if c.first_attention_norm else 1  # it is unlike the other layers with its place in the pattern
        edges = sorted(edge for edge in {start, first_alone, frozen, stop} if start <= edge <= stop)
        variables = meta.unbox({kind: tree["layers"] for kind, tree in self.variables.items() if "layers" in tree})
        carry, states = (x_BTD, cache), [x_BTD[None]]
        for first, last in itertools.pairwise(edges):
            span = _map(lambda leaf, a=first, b=last: leaf[0] if c.shared_layers else leaf[a:b], variables)
            span = jax.lax.stop_gradient(span) if last <= frozen else span
            common, own = (span, None) if c.shared_layers else (None, span)

            def layer(number, carry, slices, common=common):
                (x, cache), (own, index, source) = carry, slices
                cache = None if cache is None else cache.at_layer(index, number)
                context = contexts[number % len(contexts)]
                own = common if c.shared_layers else own
                x, cache = apply(c.block(number), own, index, stream, x, context, source, cache)
                return (x, cache), (x if collect else None)

            slices = (own, jnp.arange(first, last), None if sources is None else sources[first - start : last - start])
            carry, outputs = self._through(layer, carry, slices, first, last, last > frozen)
            carry = jax.lax.stop_gradient(carry) if last <= frozen else carry
            states += outputs
        x_BTD, cache = carry
        return x_BTD, jnp.concatenate(states) if collect else None, cache

    def _scans(self):
        """Whether layers run as a loop. XLA's CPU backend copies what a loop keeps for its backward pass twice."""
        if self.config.scan is not None:
            return self.config.scan
        return platform() != "cpu" or self.layers > UNROLLED

    def _through(self, layer, carry, slices, first, last, backward):
        """Layers `first` to `last`: whole periods of the pattern in a loop where asked, the others one by one.

        Args:
            layer: function of (number of the layer, carry, its slice of `slices`), which returns (carry, output).
            carry: what goes from layer to layer.
            slices: arrays with a leading axis of layers.
            backward: whether there is to be a backward pass.

        Returns:
            (carry, list of stacked outputs).
        """
        period = len(self.config.blocks)
        looped = (last - first) // period * period if self._scans() and not self.layers_apart else 0
        alike = not self.layers_apart and isinstance(carry[0], jax.core.Tracer)

        @functools.cache
        def body(number, prevent_cse):
            body = functools.partial(layer, number)
            if alike:  # one trace serves all layers at this place of the pattern; XLA compiles a copy for each
                body = jax.jit(body)
            if backward and self.config.remat != "none":
                # Of a CPU the host's memory is its own.
                name = "full" if self.config.remat == "offload" and platform() == "cpu" else self.config.remat
                policy = REMAT_POLICIES[name]
                body = jax.checkpoint(_with_named_input(body), policy=policy, prevent_cse=prevent_cse)
            return body

        def steps(carry, slices, numbers, prevent_cse):
            outputs = []
            for number, piece in zip(numbers, _pieces(slices, len(numbers)), strict=True):
                number = first + (number - first) % period if alike else number
                carry, output = body(number, prevent_cse)(carry, piece)
                outputs.append(output)
            return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)

        stacked = []
        if looped:
            numbers = range(first, first + period)
            periods = jax.tree.map(lambda leaf: leaf[:looped].reshape(-1, period, *leaf.shape[1:]), slices)
            carry, output = jax.lax.scan(lambda carry, piece: steps(carry, piece, numbers, False), carry, periods)
            stacked.append(jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), output))
        if first + looped < last:
            rest = _map(lambda leaf: leaf[looped:], slices)
            carry, output = steps(carry, rest, range(first + looped, last), True)
            stacked.append(output)
        return carry, stacked


def _with_named_input(body):
    """A layer whose input has a name for checkpoint policies."""

    def name(array):
        return checkpoint_name(array, INPUT) if jnp.issubdtype(array.dtype, jnp.floating) else array

    def named(carry, piece):
        return body(jax.tree.map(name, carry), piece)

    return named


def _copied(counters):
    """A copy of nested dicts whose keys stay the same objects."""
    return {key: _copied(value) if isinstance(value, dict) else value for key, value in counters.items()}


def _is_apart(tree):
    return isinstance(tree, Apart)


_map = functools.partial(jax.tree.map, is_leaf=_is_apart)


def _pieces(tree, count):
    """The `count` trees that a tree of stacked arrays, or of what is `Apart`, holds.

    Split, not indexing: its transpose is one concatenation instead of a sum of padded slices.
    """
    leaves, structure = jax.tree.flatten(tree, is_leaf=_is_apart)
    split = [leaf.layers if _is_apart(leaf) else _split(leaf, count) for leaf in leaves]
    return [structure.unflatten([pieces[i] for pieces in split]) for i in range(count)]


def _split(stacked, count):
    return [jnp.squeeze(piece, 0) for piece in jax.lax.split(stacked, [1] * count)]
