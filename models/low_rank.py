"""Low-rank changes of kernels, which train in their place (LoRA, Hu et al. 2022, arXiv:2106.09685).

A change lies beside its kernel in the tree that a model is run with, and the module that owns the kernel adds it to its
output: no changed kernel is formed, and no gradient of one. Stored are the two factors of each, "lora/.../a" and "b",
and with DoRA how much longer its columns have become, "m".
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from cloze.errors import ConfigError
from cloze.models import axes, names
from cloze.models.adapted import New, Part, uniform
from cloze.models.platforms import platform
from cloze.models.primitives import CHANGE, product

SCALINGS = {  # what alpha is divided by; a root keeps gradients alike at all ranks (rsLoRA, Kalajdzievski 2023)
    "rank": lambda rank: rank,
    "sqrt_rank": lambda rank: rank**0.5,
}


@jax.custom_vjp
def narrow(x, kernel):
    """x @ kernel [..., out], of x [..., in] and a kernel [in, out] that has one small side.

    On CPU its gradient is a product for each row of the batch, and their sum: over all tokens at once, XLA takes as
    long for 8 columns as for 256 (docs/finetuning.md).
    """
    return product(x, kernel)


def _narrow_forward(x, kernel):
    return product(x, kernel), (x, kernel)


def _narrow_backward(kept, y):
    x, kernel = kept
    if platform() != "cpu":
        tokens = tuple(range(x.ndim - 1))
        gradient = jnp.tensordot(x, y, (tokens, tokens))
    elif kernel.shape[0] < kernel.shape[1]:
        gradient = _summed("...ti,...to->...io", x, y)
    else:
        gradient = _summed("...ti,...to->...oi", x, y).T
    return product(y, kernel.T), gradient.astype(kernel.dtype)


def _summed(subscripts, x, y):
    products = jax.lax.optimization_barrier(jnp.einsum(subscripts, x, y, preferred_element_type=jnp.float32))
    return products.sum(range(products.ndim - 2))  # behind the barrier, lest XLA make one product of it again


narrow.defvjp(_narrow_forward, _narrow_backward)


@struct.dataclass
class Change:
    """scale * a @ b, to be added to a kernel [in, out].

    Attributes:
        a: f32 [in, R], behind the layers' axis of a stacked kernel.
        b: f32 [R, out], likewise.
        scale: a number.
    """

    a: Any
    b: Any
    scale: float = struct.field(pytree_node=False)

    def __call__(self, x, y, kernel):
        """x @ (kernel + change) [..., out] in the dtype of y, of x [..., in] and y = x @ kernel."""
        del kernel
        return y + narrow(narrow(x, self.a.astype(x.dtype)), (self.scale * self.b).astype(x.dtype)).astype(y.dtype)

    def merged(self, kernel):
        """The changed kernel."""
        return kernel + self.scale * jnp.matmul(self.a, self.b, precision="highest")


@struct.dataclass
class ScaledChange(Change):
    """A changed kernel whose columns have lengths that are learned on their own.

    This is DoRA (Liu et al. 2024, arXiv:2402.09353). The gradient takes the changed kernel's own lengths
    for constants (section 4.3).

    Attributes:
        m: f32 [out], what the columns are longer than those of the kernel as it was.
    """

    m: Any = None

    def __call__(self, x, y, kernel):
        return super().__call__(x, y, kernel) * self._factor(kernel).astype(y.dtype)

    def merged(self, kernel):
        return super().merged(kernel) * self._factor(kernel)[..., None, :]

    def _factor(self, kernel):
        """Of each column of the changed kernel, without forming that: |W + sAB|^2 = |W|^2 + 2s W.AB + s^2 |AB|^2."""
        a, b, kernel = (jax.lax.stop_gradient(leaf) for leaf in (self.a, self.b, kernel))
        b = self.scale * b
        to_kernel, to_itself = (jnp.einsum("...dr,...do->...ro", a, w, precision="highest") for w in (kernel, a))
        squared = jnp.sum(jnp.square(kernel), -2)
        product = jnp.matmul(to_itself, b, precision="highest")
        changed = squared + jnp.sum(b * (2 * to_kernel + product), -2)
        nonzero = changed > 0  # a column of zeros has no direction
        return (jnp.sqrt(squared) + self.m) / jnp.sqrt(jnp.where(nonzero, changed, 1))


@dataclasses.dataclass(frozen=True)
class Lora(Part):
    """kernel + scale * a @ b, with a [in, rank] and b [rank, out] (section 4.1).

    `a` begins uniform as in the `peft` package, all else at zero. In a stacked kernel of which some layers are not
    adapted, these have factors too, which stay as they are: see `frozen_rules`.

    Attributes:
        rank: see above.
        alpha: the scale is alpha / rank.
        targets: ordered rules (pattern over names of kernels, adapted or not).
        scaling: one of SCALINGS: what alpha is divided by.
        magnitudes: whether lengths of columns are learned on their own, see `ScaledChange`.
    """

    rank: int
    alpha: float
    targets: tuple[tuple[str, bool], ...]
    scaling: str = "rank"
    magnitudes: bool = False

    @property
    def scale(self) -> float:
        """Factor of the product."""
        return self.alpha / SCALINGS[self.scaling](self.rank)

    def new(self, config, base):
        made = {}
        for kernel, chosen in adapted_kernels(self.targets, base.shapes).items():
            if not chosen.any():
                continue
            (*layers, wide, out), (*stacked, from_axis, to_axis) = base.shapes[kernel], base.axis_names[kernel]
            a, b = factors_of(kernel)
            rank_axis = None if axes.SMALL in (from_axis, to_axis) else axes.SMALL  # a name stands once in an array
            made[a] = New((*layers, wide, self.rank), (*stacked, from_axis, rank_axis), uniform(wide))
            made[b] = New((*layers, self.rank, out), (*stacked, rank_axis, to_axis), nn.initializers.zeros)
            if self.magnitudes:
                made[magnitude_of(kernel)] = New((*layers, out), (*stacked, to_axis), nn.initializers.zeros)
        if not made:
            raise ConfigError(f"finetune.lora_targets={self.targets} adapt no kernel: name some, such as the default")
        return made

    def merged(self, flat):
        return {f"{path}/kernel": change.merged(flat[f"{path}/kernel"]) for path, change in self.changes(flat)}

    def applied(self, flat):
        return {f"{path}/{CHANGE}": change for path, change in self.changes(flat)}

    def changes(self, flat: Mapping[str, Any]) -> Iterable[tuple[str, Change]]:
        """(path of a module, the change of its kernel) of all that a flat tree holds factors of."""
        for name in (name for name in flat if name.startswith("lora/") and name.endswith("/a")):
            path = name.removesuffix("/a")
            both = flat[name], flat[f"{path}/b"], self.scale
            change = ScaledChange(*both, flat[f"{path}/m"]) if self.magnitudes else Change(*both)
            yield path.removeprefix("lora/"), change


def factors_of(kernel: str) -> tuple[str, str]:
    """Names of the two factors of a kernel."""
    path = kernel.removesuffix("/kernel")
    return f"lora/{path}/a", f"lora/{path}/b"


def magnitude_of(kernel: str) -> str:
    """Name of the change of the lengths of a kernel's columns."""
    return f"lora/{kernel.removesuffix('/kernel')}/m"


def adapted_kernels(targets, shapes):
    """{name of a kernel of the model: bool array, for each layer or one, whether LoRA adapts it}.

    Args:
        targets: ordered rules (pattern, bool); patterns are held against one name a layer.
        shapes: {name: shape} of all parameters; those of new parts are skipped.

    Raises:
        ConfigError: rules that match nothing, or do not cover all kernels.
    """
    kernels = {
        name: shape
        for name, shape in shapes.items()
        if name.endswith("/kernel")
        and len(shape) == 2 + names.is_stacked(name)
        and not name.startswith(("lora/", "prefix/", "prompt/"))
    }
    chosen = names.match(targets, kernels, "finetune.lora_targets")
    return {name: np.atleast_1d(value).astype(bool) for name, value in chosen.items()}


def frozen_rules(targets, shapes):
    """Rules (pattern, False) for changes of layers that are not adapted, in kernels of which others are.

    Args:
        targets, shapes: see `adapted_kernels`.
    """
    rules = []
    for kernel, chosen in adapted_kernels(targets, shapes).items():
        if not chosen.any() or chosen.all():
            continue
        stack, _, rest = kernel.removesuffix("/kernel").partition("/layers/")
        layers = "|".join(map(str, np.flatnonzero(~chosen)))
        rules.append((rf"lora/{re.escape(stack)}/layers/({layers})/{re.escape(rest)}/[a-z]+", False))
    return tuple(rules)
