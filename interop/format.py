"""What a Hugging Face model_type is, as data: names of settings, names of parameters, and how their arrays lie.

A kind of tensor is a *view*: a function that, given an array in their layout, gives a numpy view of it in ours. One
function serves both directions: reading copies a slice of the view of a file, writing assigns to the view of a new
array. So nothing is ever said twice, and both directions are exact to the bit.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

ACTIVATIONS = {  # theirs to ours; the first name of each of ours is the one written
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


class Leaf(NamedTuple):
    """One array of a kind.

    Attributes:
        ours, theirs: what is appended to the names of the row.
        view: (their array, ModelConfig) -> a view of it in our layout. It may have more axes than ours, which then are
            ours cut into parts, in order: [D, H, E] for our [D, H * E].
        shape: (shape of ours, ModelConfig) -> shape of theirs.
    """

    ours: str
    theirs: str
    view: Callable[[Any, Any], Any]
    shape: Callable[[tuple[int, ...], Any], tuple[int, ...]]


def _same(array, config):
    return array


def _same_shape(shape, config):
    return shape


def _transposed(array, config):
    return array.T


def _transposed_shape(shape, config):
    return shape[::-1]


# Each kind is a tuple of leaves; those that the model has not (a bias, say) are skipped.
COPY = (Leaf("", "", _same, _same_shape),)
LINEAR = (  # torch's Linear keeps [out, in]
    Leaf("/kernel", ".weight", _transposed, _transposed_shape),
    Leaf("/bias", ".bias", _same, _same_shape),
)
TRANSPOSED = (Leaf("", "", _transposed, _transposed_shape),)
CONV1D = (  # the GPT models' Conv1D keeps [in, out]
    Leaf("/kernel", ".weight", _same, _same_shape),
    Leaf("/bias", ".bias", _same, _same_shape),
)
NORM = (
    Leaf("/scale", ".weight", _same, _same_shape),
    Leaf("/bias", ".bias", _same, _same_shape),
)
TABLE = (Leaf("/embedding", ".weight", _same, _same_shape),)


def conv1d_part(part, parts):
    """Columns of a fused Conv1D: GPT's c_attn holds query, key and value side by side."""

    def view(array, config):
        return np.split(array, parts, axis=-1)[part]

    def shape(ours, config):
        return (*ours[:-1], parts * ours[-1])

    return (Leaf("/kernel", ".weight", view, shape), Leaf("/bias", ".bias", view, shape))


def linear_part(part, parts):
    """Rows of a fused Linear: ModernBERT's Wqkv and Wi hold several projections one after the other."""

    def view(array, config):
        return np.split(array, parts)[part].T

    def shape(ours, config):
        return (parts * ours[-1], *ours[:-1])

    return (Leaf("/kernel", ".weight", view, shape), Leaf("/bias", ".bias", view, shape))


def interleaved_part(part, parts, use_bias=False):
    """A Linear whose rows [head, part, e] interleave several projections: DeBERTa v1's in_proj, with a bias NeoX's."""

    def rows(array, config):
        return array.reshape(config.heads, parts, config.head_dim, *array.shape[1:])[:, part]

    def kernel(array, config):
        return np.moveaxis(rows(array, config), -1, 0)

    leaf = Leaf("/kernel", ".weight", kernel, lambda ours, config: (parts * ours[1], ours[0]))
    bias = Leaf("/bias", ".bias", rows, lambda ours, config: (parts * ours[0],))
    return (leaf, bias) if use_bias else (leaf,)


def _heads_in_shape(shape, config):
    return (*shape[:-1], config.heads, config.head_dim)


HEADS_IN = (Leaf("", "", _same, _heads_in_shape),)  # [D, H, E] for our [D, H * E]: XLNet's q, k, v, r and biases
HEADS_OUT = (  # [D, H, E] for our [H * E, D]: XLNet's o
    Leaf(
        "",
        "",
        lambda array, config: np.moveaxis(array, 0, -1),
        lambda shape, config: (shape[1], config.heads, config.head_dim),
    ),
)


class Row(NamedTuple):
    """One line of the table of parameters.

    Attributes:
        ours, theirs: names; {i} is the layer, {base} in theirs the prefix that names of the body have.
        kind: a tuple of leaves.
        when: ModelConfig -> whether the row holds; None: always. For variants that name the same parameter differently.
    """

    ours: str
    theirs: str
    kind: tuple[Leaf, ...]
    when: Callable[[Any], bool] | None = None


class Field(NamedTuple):
    """One line of the table of settings.

    Attributes:
        ours: field of ModelConfig.
        theirs: key of config.json.
        default: what transformers takes when config.json lacks the key.
        values: {their value: our value}; None where they are the same. Of several that mean the same, the first is
            written.
    """

    ours: str
    theirs: str
    default: Any
    values: Mapping[str, Any] | None = None


class Buffer(NamedTuple):
    """A constant among their tensors.

    Attributes:
        theirs: name.
        shape: ModelConfig -> shape.
        value: what all of its elements are.
    """

    theirs: str
    shape: Callable[[Any], tuple[int, ...]]
    value: float


@dataclasses.dataclass(frozen=True)
class ModelClass:
    """One of transformers' classes for a model_type.

    Attributes:
        heads: our heads_out.
        settings: fields of ModelConfig that this class implies.
        names: rows that stand in for the format's rows of the same `ours`.
        base: prefix of the body's names; None: the format's.
        keys: keys of config.json that this class adds when written.
        buffers: constants that belong to the file.
    """

    heads: tuple[str, ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    names: tuple[Row, ...] = ()
    base: str | None = None
    keys: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    buffers: tuple[Buffer, ...] = ()


@dataclasses.dataclass(frozen=True)
class Format:
    """A model_type.

    Attributes:
        model_type: as in config.json.
        families: our families that it can hold; files are read as the first.
        preset: of that family, whose settings hold where config.json is silent.
        classes: {class name in config.json's `architectures`: ModelClass}. Where two fit a model equally, the first is
            written.
        fields: the table of settings.
        names: the table of parameters, over all heads and variants: rows whose parameter a model has not are skipped.
        base: prefix of the body's names, "bert."; files of a bare body lack it.
        fixed: {key of config.json: the values that we can compute, the first being the default}.
        keys: keys of config.json that are always written.
        copies: {name of a tensor that repeats another when tied: name of that other}.
        ignored: patterns of tensors that are no parameters (buffers of old releases).
        positions_skip_padding: positions count real tokens only, so that padding at the left does not shift them.
        read: (config.json, names of the tensors) -> further fields of ModelConfig.
        write: ModelConfig -> further keys of config.json.
    """

    model_type: str
    families: tuple[str, ...]
    preset: str
    classes: Mapping[str, ModelClass]
    fields: tuple[Field, ...]
    names: tuple[Row, ...]
    base: str = ""
    fixed: Mapping[str, tuple] = dataclasses.field(default_factory=dict)
    keys: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    copies: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    positions_skip_padding: bool = False
    read: Callable[[Mapping, frozenset], dict] = lambda settings, tensors: {}
    write: Callable[[Any], dict] = lambda config: {}

    def base_of(self, class_name):
        """The prefix that a class puts before the names of the body."""
        base = self.classes[class_name].base
        return self.base if base is None else base

    def rows(self, class_name):
        """The table of parameters of one class."""
        own = self.classes[class_name].names
        replaced = {row.ours for row in own}
        return (*own, *(row for row in self.names if row.ours not in replaced))
