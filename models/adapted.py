"""Models of which some parameters are computed from smaller ones, which train in their place.

LoRA adds a product of two narrow factors to a kernel; prefixes and prompts can be computed by small networks, which
train more steadily than the vectors themselves. All of it happens to the tree of parameters, before the model runs:
the model knows nothing of it, and afterwards the tree can be merged into an ordinary one. Parts that are inside the
model are in models.adapters.
"""

import abc
import dataclasses
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError
from cloze.models import axes, names
from cloze.models.build import parameters

PATTERNS = {  # method of finetuning: names of its new parts, and of what trains with them
    "lora": (r"lora/.*",),
    "adapters": (r".*_adapter/.*", r".*norm/(scale|bias)"),  # Houlsby et al. 2019, section 2: norms train, too
    "prefix": (r"prefix/.*|.*/attention/prefix_(key|value|gate)",),
    "prompt": (r"[a-z]+_prompt/embedding",),
    "p_tuning": (r"prompt/.*",),
}


class New(NamedTuple):
    """A parameter that a part brings: its shape, the logical names of its axes, its initializer."""

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    init: Callable[..., Any]


class Part(abc.ABC):
    """Parameters beside those of a model, and what becomes of the model's by them.

    Attributes:
        tree: name at the top level that all of its parameters begin with.
    """

    tree: str

    @abc.abstractmethod
    def new(self, config, base):
        """{name: New} of a model with the ModelConfig `config` and the models.Parameters `base`.

        Raises:
            ConfigError: the model has not what this part belongs to.
        """

    @abc.abstractmethod
    def computed(self, base):
        """Names of the model's parameters that are computed from this part's alone, and so are not stored."""

    @abc.abstractmethod
    def merged(self, flat):
        """{name: array} of the model's parameters that differ from the stored ones, of which `flat` is a flat tree."""

    @abc.abstractmethod
    def unmerged(self, flat, own):
        """{name: array} to store for those again, from a flat ordinary tree and this part's own parameters."""


@dataclasses.dataclass(frozen=True)
class Lora(Part):
    """kernel + alpha / rank * a @ b, with a [in, rank] and b [rank, out] (Hu et al. 2021, section 4.1).

    `a` begins uniform as in the `peft` package, `b` at zero. In a stacked kernel of which some layers are not adapted,
    these have factors too, which stay as they are: see `frozen_rules`.

    Attributes:
        rank, alpha: see above.
        targets: ordered rules (pattern over names of kernels, adapted or not).
    """

    rank: int
    alpha: float
    targets: tuple[tuple[str, bool], ...]
    tree = "lora"

    def new(self, config, base):
        made = {}
        for kernel, chosen in adapted_kernels(self.targets, base.shapes).items():
            if not chosen.any():
                continue
            (*layers, wide, out), (*stacked, from_axis, to_axis) = base.shapes[kernel], base.axis_names[kernel]
            a, b = factors_of(kernel)
            rank_axis = None if axes.SMALL in (from_axis, to_axis) else axes.SMALL  # a name stands once in an array
            made[a] = New((*layers, wide, self.rank), (*stacked, from_axis, rank_axis), _uniform(wide))
            made[b] = New((*layers, self.rank, out), (*stacked, rank_axis, to_axis), nn.initializers.zeros)
        if not made:
            raise ConfigError(f"finetune.lora_targets={self.targets} adapt no kernel: name some, such as the default")
        return made

    def computed(self, base):
        return ()

    def merged(self, flat):
        return {kernel: flat[kernel] + delta for kernel, delta in self._deltas(flat).items()}

    def unmerged(self, flat, own):
        return {kernel: flat[kernel] - delta for kernel, delta in self._deltas(own).items()}

    def _deltas(self, flat):
        """{kernel: what is added to it}."""
        found = {}
        for a in (name for name in flat if name.startswith("lora/") and name.endswith("/a")):
            product = jnp.matmul(flat[a], flat[a[:-1] + "b"], precision="highest")
            found[a.removeprefix("lora/").removesuffix("a") + "kernel"] = self.alpha / self.rank * product
        return found


def factors_of(kernel):
    """Names of the two factors of a kernel."""
    path = kernel.removesuffix("/kernel")
    return f"lora/{path}/a", f"lora/{path}/b"


def adapted_kernels(targets, shapes):
    """{name of a kernel of the model: bool array, for each layer or one, whether LoRA adapts it}.

    Args:
        targets: ordered rules (pattern, bool); patterns are held against one name a layer.
        shapes: {name: shape} of all parameters; those of new parts are skipped.

    Raises:
        ConfigError: rules that match nothing, do not cover all kernels, or have other values than True and False.
    """
    kernels = {
        name: shape
        for name, shape in shapes.items()
        if name.endswith("/kernel") and len(shape) == 2 + names.is_stacked(name) and not _is_new(name)
    }
    for pattern, value in targets:
        if not isinstance(value, bool):
            raise ConfigError(f"finetune.lora_targets: the rule for {pattern!r} must be True or False, got {value!r}")
    chosen = names.match(targets, kernels, "finetune.lora_targets")
    return {name: np.atleast_1d(value).astype(bool) for name, value in chosen.items()}


def _is_new(name):
    return name.startswith(("lora/", "prefix/", "prompt/"))


def frozen_rules(settings, shapes):
    """Rules (pattern, False) for factors of layers that LoRA does not adapt, in kernels of which it adapts others.

    Args:
        settings: config.finetune.
        shapes: {name: shape} of all parameters.
    """
    rules = []
    for kernel, chosen in adapted_kernels(settings.lora_targets, shapes).items():
        if not chosen.any() or chosen.all():
            continue
        stack, _, rest = kernel.removesuffix("/kernel").partition("/layers/")
        layers = "|".join(map(str, np.flatnonzero(~chosen)))
        rules.append((rf"lora/{re.escape(stack)}/layers/({layers})/{re.escape(rest)}/[ab]", False))
    return tuple(rules)


@dataclasses.dataclass(frozen=True)
class PrefixNetwork(Part):
    """All layers' prefixes from one small table and a network with a tanh (Li and Liang 2021, section 4.3).

    Attributes:
        hidden: width of the network.
    """

    hidden: int
    tree = "prefix"

    def new(self, config, base):
        made = {}
        for key in _needed("/attention/prefix_key", base, "model.prefix_length"):
            layers, length, width = base.shapes[key]
            stack = f"prefix/{key.split('/')[0]}"
            made[f"{stack}/embedding"] = New(
                (length, config.width), (axes.SMALL, axes.EMBED), nn.initializers.normal(1)
            )
            made |= _linear(f"{stack}/hidden", (config.width, self.hidden), (axes.EMBED, axes.SMALL))
            for kind in ("key", "value"):
                shape, named = (layers, self.hidden, width), (axes.LAYERS, axes.SMALL, axes.KV_HEADS)
                made |= _linear(f"{stack}/layers/{kind}", shape, named)
        return made

    def computed(self, base):
        return tuple(
            name for name in base.shapes if name.endswith(("/attention/prefix_key", "/attention/prefix_value"))
        )

    def merged(self, flat):
        found = {}
        for name in (n for n in flat if n.startswith("prefix/") and n.endswith("/embedding")):
            own = name.removesuffix("/embedding")
            h_PF = jnp.tanh(flat[name] @ flat[f"{own}/hidden/kernel"] + flat[f"{own}/hidden/bias"])
            for kind in ("key", "value"):
                path = f"{own}/layers/{kind}"
                made_LPK = jnp.einsum("PF,LFK->LPK", h_PF, flat[f"{path}/kernel"]) + flat[f"{path}/bias"][:, None]
                found[f"{own.removeprefix('prefix/')}/layers/attention/prefix_{kind}"] = made_LPK
        return found

    def unmerged(self, flat, own):
        return {}


@dataclasses.dataclass(frozen=True)
class PromptNetwork(Part):
    """A prompt from a table, an LSTM in both directions and a network with a ReLU (Liu et al. 2021, section 3.2).

    Attributes:
        hidden: width of both directions together, and of the network; even.
    """

    hidden: int
    tree = "prompt"

    def new(self, config, base):
        made, cells = {}, self.hidden // 2
        for prompt in _needed("_prompt/embedding", base, "model.prompt_length"):
            length, width = base.shapes[prompt]
            stack = f"prompt/{prompt.removesuffix('_prompt/embedding')}"
            made[f"{stack}/embedding"] = New((length, width), (axes.SMALL, axes.EMBED), nn.initializers.normal(1))
            for way in ("forward", "backward"):
                uniform = _uniform(cells)
                made[f"{stack}/{way}/input_kernel"] = New((width, 4 * cells), (axes.EMBED, axes.SMALL), uniform)
                made[f"{stack}/{way}/state_kernel"] = New((cells, 4 * cells), (axes.SMALL, None), uniform)
                made[f"{stack}/{way}/bias"] = New((4 * cells,), (axes.SMALL,), uniform)
            made |= _linear(f"{stack}/hidden", (2 * cells, self.hidden), (axes.SMALL, None))
            made |= _linear(f"{stack}/output", (self.hidden, width), (axes.SMALL, axes.EMBED))
        return made

    def computed(self, base):
        return tuple(name for name in base.shapes if name.endswith("_prompt/embedding"))

    def merged(self, flat):
        found = {}
        for name in (n for n in flat if n.startswith("prompt/") and n.endswith("/embedding")):
            own = name.removesuffix("/embedding")
            ways = [lstm(flat, f"{own}/{way}", flat[name], way == "backward") for way in ("forward", "backward")]
            h_PF = jnp.concatenate(ways, axis=-1) @ flat[f"{own}/hidden/kernel"] + flat[f"{own}/hidden/bias"]
            made_PE = jax.nn.relu(h_PF) @ flat[f"{own}/output/kernel"] + flat[f"{own}/output/bias"]
            found[f"{own.removeprefix('prompt/')}_prompt/embedding"] = made_PE
        return found

    def unmerged(self, flat, own):
        return {}


def lstm(flat, path, x_PE, reverse):
    """States [P, C] of one direction of an LSTM over one short sequence; gates are input, forget, candidate, output.

    models.recurrent has the one for rows of text, which is cut over devices by rows; here there is one row.
    """
    gates_PG = x_PE @ flat[f"{path}/input_kernel"] + flat[f"{path}/bias"]
    weights = flat[f"{path}/state_kernel"]

    def step(carry, gates_G):
        state_C, memory_C = carry
        enter, keep, candidate, leave = jnp.split(gates_G + state_C @ weights, 4)
        memory_C = jax.nn.sigmoid(keep) * memory_C + jax.nn.sigmoid(enter) * jnp.tanh(candidate)
        state_C = jax.nn.sigmoid(leave) * jnp.tanh(memory_C)
        return (state_C, memory_C), state_C

    zeros = jnp.zeros(weights.shape[0], gates_PG.dtype)
    return jax.lax.scan(step, (zeros, zeros), gates_PG, reverse=reverse)[1]


def _uniform(fan):
    """Uniform within 1 / sqrt(fan): torch's and peft's start of linear maps and LSTMs."""

    def draw(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -(fan**-0.5), fan**-0.5)

    return draw


def _linear(path, shape, named):
    """The kernel and bias of a map of two axes, which may be stacked."""
    return {
        f"{path}/kernel": New(shape, named, _uniform(shape[-2])),
        f"{path}/bias": New((*shape[:-2], shape[-1]), (*named[:-2], named[-1]), nn.initializers.zeros),
    }


def _needed(ending, base, option):
    found = [name for name in base.shapes if name.endswith(ending)]
    if not found:
        raise ConfigError(f"the model has nothing that ends in {ending}, which this part computes: set {option}")
    return found


class Adapted:
    """A model with parts beside it: what training needs of a module, over one tree.

    The model's parameters keep their names; each part's tree stands beside them, and what a part computes is absent.

    Args:
        model: Flax module.
        parts: sequence of Part.

    Attributes:
        model, parts: as given.
        config: ModelConfig of the model.

    Raises:
        ConfigError: a part does not go with the model.
    """

    def __init__(self, model, parts):
        self.model, self.parts, self.config = model, tuple(parts), model.config
        base = parameters(model)
        self._new = {name: new for part in self.parts for name, new in part.new(self.config, base).items()}
        self._computed = frozenset(name for part in self.parts for name in part.computed(base))

    def init(self, key, batch):
        """{"params": tree} of new parameters; those of the model are as the model itself makes them of this key."""
        flat = names.flatten(self.model.init(key, batch)["params"])
        flat = {name: leaf for name, leaf in flat.items() if name not in self._computed}
        for number, (name, (shape, named, init)) in enumerate(sorted(self._new.items())):
            value = init(jax.random.fold_in(key, 1 + number), shape, jnp.float32)
            flat[name] = nn.LogicallyPartitioned(value, named)
        return {"params": names.unflatten(flat)}

    def apply(self, variables, batch, deterministic=True, rngs=None, **options):
        """What the model gives with the merged parameters; `options` are the model's own."""
        params = self.merge(variables["params"])
        return self.model.apply({"params": params}, batch, deterministic, rngs=rngs, **options)

    def merge(self, params):
        """The ordinary tree of `model`, which computes exactly what the stored tree `params` does here."""
        flat = names.flatten(params)
        found = {name: leaf for name, leaf in flat.items() if name not in self._new}
        for part in self.parts:
            found |= part.merged(flat)
        return names.unflatten(found)

    def unmerge(self, params, new):
        """The stored tree again, LoRA's kernels up to rounding.

        Args:
            params: what `merge` gave.
            new: tree with the parts' own parameters (others are not read), such as the stored tree.
        """
        flat, new = names.flatten(params), names.flatten(new)
        own = {name: new[name] for name in self._new}
        found = {name: leaf for name, leaf in flat.items() if name not in self._computed} | own
        for part in self.parts:
            found |= part.unmerged(flat, {name: leaf for name, leaf in own.items() if name.startswith(part.tree + "/")})
        return names.unflatten(found)


def adapt(config, settings):
    """What a method of finetuning adds to a model.

    Args:
        config: ModelConfig.
        settings: config.finetune; methods without new parts add nothing.

    Returns:
        (ModelConfig with the sizes of parts that are inside the model, tuple of Part for `Adapted`).

    Raises:
        ConfigError: a size that makes no sense, or a model that cannot have such a part.
    """
    method = settings.method
    least = {
        "lora": {"lora_rank": 1},
        "adapters": {"adapter_size": 1},
        "prefix": {"prefix_length": 1, "prefix_hidden": 0},
        "prompt": {"prompt_length": 1},
        "p_tuning": {"prompt_length": 1, "prompt_hidden": 0},
    }
    for option, smallest in least.get(method, {}).items():
        if settings[option] < smallest:
            raise ConfigError(f"finetune.{option}={settings[option]} must be at least {smallest} (method {method})")
    if method == "lora":
        return config, (Lora(settings.lora_rank, settings.lora_alpha, tuple(settings.lora_targets)),)
    if method == "adapters":
        return dataclasses.replace(config, adapter_size=settings.adapter_size), ()
    if method == "prefix":
        sizes = dict(prefix_length=settings.prefix_length, prefix_gated=settings.prefix_gate)
        network = (PrefixNetwork(settings.prefix_hidden),) if settings.prefix_hidden else ()
        return dataclasses.replace(config, **sizes), network
    if method == "prompt":
        return dataclasses.replace(config, prompt_length=settings.prompt_length), ()
    if method == "p_tuning":
        hidden = settings.prompt_hidden or config.width
        if hidden % 2:
            raise ConfigError(f"finetune.prompt_hidden={hidden} must be even: half of it is for each direction")
        return dataclasses.replace(config, prompt_length=settings.prompt_length), (PromptNetwork(hidden),)
    return config, ()


def trainable_patterns(method):
    """Patterns over the names of a method's new parts, and of what trains with them; () if it has none."""
    return PATTERNS.get(method, ())


def prompt_from_vocabulary(params, ids):
    """The tree with a prompt that begins as the vectors of tokens (Lester et al. 2021, section 3.2).

    Args:
        params: tree of concrete arrays, with a table of tokens and a stored prompt.
        ids: int [P], the tokens; they are used again from the first if they are fewer than the prompt is long.

    Raises:
        ConfigError: the tree has no prompt (p_tuning computes it).
    """
    flat = names.flatten(params)
    prompts = [name for name in flat if name.endswith("_prompt/embedding")]
    if not prompts:
        raise ConfigError(
            "there is no stored prompt to begin as vectors of tokens: set finetune.prompt_init=random, or "
            "finetune.method=prompt"
        )
    for name in prompts:
        chosen = np.resize(np.asarray(ids), flat[name].shape[0])
        rows = jnp.take(flat["token/embedding"], chosen, axis=0)
        flat[name] = jax.device_put(rows, flat[name].sharding)
    return names.unflatten(flat)
