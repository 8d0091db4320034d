"""What a model is: the options of its architecture, regularisation and execution, and published sizes as presets."""

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from cloze import options
from cloze.errors import ConfigError
from cloze.models import families as family_files
from cloze.models.backends.choice import BACKENDS, check
from cloze.models.heads import RECURRENT, TRANSFORMERS, check_heads
from cloze.models.positions import SCHEMES, Scheme
from cloze.options import BY_HAND, FREELY, REQUIRED, Name, option, suggest

# Far above every published model: what is larger is a mistake, on which a machine would be busy for hours.
MOST_LAYERS, MOST_PLACES = 10_000, 2**31 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """What is computed. Options without a default are given by every preset."""

    family: Name = option("bert", "a file of models/families/, which holds its presets")
    preset: Name = option("base", "a published size of the family; every other option overrides the preset's")

    # Shape.
    architecture: str = option(
        REQUIRED,
        "which stacks there are, or a model from before transformers",
        choices=(*TRANSFORMERS, *RECURRENT, "word_vectors"),
    )
    layers: int = option(
        REQUIRED, "layers of the only stack, or of the encoder of an encoder-decoder", least=1, most=MOST_LAYERS
    )
    decoder_layers: int = option(0, "layers of the decoder of an encoder-decoder", least=0, most=MOST_LAYERS)
    width: int = option(REQUIRED, "size of the residual stream", least=1)
    heads: int = option(REQUIRED, "query heads", least=1)
    kv_heads: int = option(0, "key and value heads, a divisor of `heads`; 0: as many", least=0)
    head_dim: int = option(0, "size of one head; 0: width / heads", least=0)
    ffn: int = option(
        REQUIRED,
        "hidden size of the feed-forward; cells of an LSTM, whose output is projected to width",
        least=1,
    )
    vocab_size: int = option(REQUIRED, "rows of the embedding that count; at least the tokenizer's", least=1)
    vocab_multiple: int = option(128, "embedding rows are padded to a multiple; padding never counts", least=1)
    embedding_width: int = option(0, "size of the tables, projected to `width` (ALBERT, ELECTRA); 0: width", least=0)
    token_types: int = option(0, "number of token types (BERT's sentence A and B); 0: none", least=0)
    feature_layers: int = option(
        0,
        "layers of an ELMo whose mixed states a classifier reads as embeddings; 0: none",
        least=0,
        most=MOST_LAYERS,
        needs={"architecture": ("bidirectional_recurrent",)},
    )
    recurrent_residual: bool = option(
        False,
        "LSTM layers but the first add what they read to their output (ELMo)",
        needs={"architecture": ("recurrent", "bidirectional_recurrent")},
    )
    shared_layers: bool = option(False, "one layer's parameters at every depth (ALBERT)")
    shared_stacks: bool = option(
        False, "one stack for encoder and decoder; cross-attention is the decoder's alone (T5's study)"
    )

    # Positions.
    positions: str = option("learned", "where tokens stand, a file of models/positions/", choices=tuple(SCHEMES))
    max_positions: int = option(
        0, "longest row of learned positions, and of those of the enhanced decoder", least=0, most=MOST_PLACES
    )

    # Blocks.
    pattern: tuple[dict[Name, Any] | tuple[tuple[Name, Any], ...], ...] = option(
        (),
        "one mapping for each block of a pattern that repeats from the bottom, with the options in which that block "
        "differs: ({}, {'window': 256}) gives every second layer a window; (): all blocks are alike",
    )
    window: int = option(
        0, "a query sees keys fewer than this many places away, its own included; 0: all", least=0, most=MOST_PLACES
    )
    norm: str = option("layer", "layer norms or RMS norms", choices=("layer", "rms"))
    norm_position: str = option(
        "pre",
        "before a sublayer (pre), after the residual sum (post), before a sublayer and on its output (both; Gemma 2), "
        "on its output (output; OLMo 2), or before sublayers that read the same state (parallel; NeoX)",
        choices=("pre", "post", "both", "output", "parallel"),
    )
    first_attention_norm: bool = option(
        True,
        "whether the first layer has a norm before attention (ModernBERT: none)",
        needs={"norm_position": ("pre",), "shared_layers": (False,)},
    )
    norm_epsilon: float = option(1e-5, "added to the variance", above=0, most=1)
    norm_bias: bool = option(True, "layer norms have a bias")
    norm_plus_one: bool = option(False, "RMS norms multiply by 1 + scale (Gemma)")
    embedding_norm: bool = option(False, "normalise the summed embeddings")
    final_norm: bool = option(False, "normalise the output of a stack")
    activation: str = option(
        "gelu", "of the feed-forward; gelu is exact (erf)", choices=("gelu", "gelu_tanh", "relu", "silu")
    )
    gated: bool = option(False, "the feed-forward is activation(gate) * up")
    use_bias: bool = option(True, "biases in attention and feed-forward")
    attention_bias: Name = option("", 'projections with a bias, letters out of qkvo, or none; "": as use_bias says')
    query_key_norm: str = option(
        "none",
        "norms on queries and keys: of each head (Qwen3, Gemma 3) or over all heads (OLMo 2)",
        choices=("none", "head", "all"),
    )
    scale_attention: bool = option(True, "divide attention scores by sqrt(head_dim)")
    query_scalar: float = option(
        0.0, "divide them by the root of this instead (Gemma 2's query_pre_attn_scalar); 0: head_dim", least=0
    )
    attention_softcap: float = option(
        0.0, "bend attention scores towards this: cap * tanh(score / cap) (Gemma 2); 0: never", least=0
    )

    # Embeddings and heads.
    scale_embeddings: bool = option(False, "multiply token embeddings by sqrt(width) (original Transformer, Gemma)")
    tie_embeddings: bool = option(True, "the vocabulary head reuses the token embedding")
    scale_tied_logits: bool = option(False, "multiply tied logits by width ** -0.5 (T5 1.0)")
    lm_bias: bool = option(False, 'a bias over the vocabulary in the head "lm" (XLNet)')
    logit_cap: float = option(
        0.0, "logits over the vocabulary are c * tanh(logits / c) (Gemma 2); 0: as they are", least=0
    )
    mlm_transform: bool = option(True, 'a dense layer and a norm in the head "mlm" (BERT)')
    head_transform: bool = option(
        False,
        "a dense layer, activation and norm that heads of hidden tokens, rows and tokens share and stand on "
        "(ModernBERT)",
    )
    pooling: str = option(
        "first",
        "what classifiers of rows read: first or last token that is not padding, or max or mean over all",
        choices=("first", "last", "max", "mean"),
    )
    pooler_activation: str = option(
        "tanh",
        "of the dense layer under such a classifier; none: no layer",
        choices=("tanh", "gelu", "gelu_tanh", "relu", "silu", "none"),
    )
    feature_norm: str = option(
        "none",
        "instead of that layer, states scaled as fitted to training examples, which `finetune` sets: to mean 0 and "
        "deviation 1 (standard), or length 1 (unit)",
        choices=("none", "standard", "unit"),
    )
    feature_size: int = option(
        0,
        "principal components that a classifier of rows reads, which `finetune` sets; 0: no projection",
        least=0,
    )
    classifier_bias: bool = option(True, "whether the last layer of a classifier of rows has a bias")
    heads_out: tuple[Name, ...] = option((), "heads beyond those that the objective scores (of converted models)")
    num_labels: int = option(2, "classes of a classifier of rows or of tokens; 1 in regression", least=1)
    initializer: str = option(
        "normal",
        "scaled_residual is GPT-2's, small is NeoX's",
        choices=("normal", "truncated_normal", "scaled_residual", "small", "xavier_uniform", "t5"),
    )
    initializer_std: float = option(0.02, "standard deviation, where the initializer takes one", least=0, most=1e3)

    # Small new parts of a finetuned model, which `finetune` sets (models/adapters.py).
    adapter_size: int = option(
        0,
        "width of the bottlenecks after attention and feed-forward (Houlsby et al. 2019); 0: without",
        least=0,
        needs={"architecture": TRANSFORMERS},
    )
    prefix_length: int = option(
        0,
        "keys and values in front of each layer's own (Li and Liang 2021); 0: without",
        least=0,
        needs={"architecture": TRANSFORMERS},
    )
    prefix_gated: bool = option(False, "they have a softmax of their own, times a gate that opens from 0")
    prompt_length: int = option(
        0,
        "vectors in front of the text of the first stack (Lester et al. 2021); 0: without",
        least=0,
        needs={"architecture": TRANSFORMERS},
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regularisation:
    """Dropout, in training only."""

    dropout: float = option(0.1, "on embeddings and sublayer outputs", least=0, below=1)
    attention_dropout: float = option(0.1, "on attention probabilities (einsum backend only)", least=0, below=1)
    activation_dropout: float = option(0.0, "inside the feed-forward, after the activation (T5)", least=0, below=1)
    final_dropout: float = option(0.0, "on the output of a stack (T5)", least=0, below=1)
    pooler_dropout: float = option(0.0, "before the dense layer under a classifier of rows", least=0, below=1)
    head_dropout: float = option(0.1, "before a classifier's last layer", least=0, below=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
    """How it runs; the numbers change by rounding only."""

    dtype: str = option(
        "float32",
        "compute type; parameters, norms, softmax and loss stay float32",
        choices=("float32", "bfloat16"),
        changes=BY_HAND,
    )
    attention_backend: str = option(
        "auto",
        "auto takes the first that computes a layer, of splash (TPU), cudnn (NVIDIA), flash (both; dropout, biases, "
        "any rule), local (windows, anywhere), einsum, the reference, and the log says so. "
        "xla is jax.nn.dot_product_attention without a kernel",
        choices=("auto", *BACKENDS),
        changes=FREELY,
    )
    scan: bool | None = option(
        None,
        "run the layers as one scanned loop, which compiles fast, or unrolled; null: as a loop, but on a CPU stacks of "
        "at most 16 layers are unrolled, whose steps are 10 to 25% faster there",
        changes=FREELY,
    )
    remat: str = option(
        "none",
        "recompute in the backward pass: dots keeps matrix products; offload recomputes all, like full, and keeps each "
        "layer's input in the host's memory, where there are accelerators",
        choices=("none", "dots", "full", "offload"),
        needs={"architecture": TRANSFORMERS},
        changes=FREELY,
    )


PositionOptions = options.union("PositionOptions", SCHEMES.values())
PER_BLOCK = ("window", "query_scalar", "attention_softcap")  # options in which blocks may differ, beside their scheme's


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """What one block of a pattern computes; sizes and the rest are the same in all blocks.

    Attributes:
        positions: position scheme of its self-attention.
        window: a query sees keys fewer than this many places away; 0: all.
        scale: factor on attention scores.
        softcap: bound of attention scores; 0: none.
        attention_norm: whether there is a norm before attention.
    """

    positions: Scheme
    window: int
    scale: float
    softcap: float
    attention_norm: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig(Architecture, PositionOptions, Regularisation, Execution):
    """Everything that a model is made of. Where 0 stands for another option's value, that value is filled in.

    `pattern` holds pairs in place of mappings, so that a ModelConfig can be hashed.

    Raises:
        ConfigError: an option outside its range, or options that do not go together.
    """

    def __post_init__(self):
        options.check(type(self), vars(self), "model")
        object.__setattr__(self, "kv_heads", self.kv_heads or self.heads)
        object.__setattr__(self, "embedding_width", self.embedding_width or self.width)
        if not self.head_dim:
            if self.width % self.heads:
                raise ConfigError(
                    f"model.width={self.width} does not divide into model.heads={self.heads}; change one of them "
                    "or set model.head_dim"
                )
            object.__setattr__(self, "head_dim", self.width // self.heads)
        if self.heads % self.kv_heads:
            raise ConfigError(f"model.kv_heads={self.kv_heads} must divide model.heads={self.heads}")
        self._check_pattern()
        self._check_structure()
        self._check_recurrent()
        self._check_new_parts()

    def _check_pattern(self):
        object.__setattr__(self, "pattern", tuple(tuple(sorted(dict(block).items())) for block in self.pattern))
        differing = (*PER_BLOCK, *SCHEMES[self.positions].differing)
        for number, block in enumerate(self.pattern):
            if unknown := set(dict(block)) - set(differing):
                raise ConfigError(
                    f"model.pattern[{number}]: blocks cannot differ in {', '.join(sorted(unknown))}; with model."
                    f"positions={self.positions} they can in {', '.join(differing)}"
                )
            options.check(type(self), vars(self) | dict(block), f"model.pattern[{number}]")
        for block in self.blocks:
            block.positions.check(self)

    @functools.cached_property
    def blocks(self) -> tuple[BlockSpec, ...]:
        """The blocks of a period of the pattern."""
        return tuple(self._block(vars(self) | dict(block)) for block in self.pattern or ((),))

    def _block(self, values):
        scheme = SCHEMES[self.positions]
        return BlockSpec(
            positions=scheme(**options.read(scheme, values)),
            window=values["window"],
            scale=(values["query_scalar"] or self.head_dim) ** -0.5 if self.scale_attention else 1.0,
            softcap=values["attention_softcap"],
        )

    def block(self, layer: int) -> BlockSpec:
        """The spec of a layer, counted from the bottom."""
        spec = self.blocks[layer % len(self.blocks)]
        return spec if layer or self.first_attention_norm else dataclasses.replace(spec, attention_norm=False)

    def _check_structure(self):
        if (self.architecture == "encoder_decoder") != (self.decoder_layers > 0):
            raise ConfigError(
                f"model.architecture={self.architecture} does not go with model.decoder_layers={self.decoder_layers}: "
                "an encoder_decoder needs at least 1, the others 0"
            )
        if self.shared_stacks and self.decoder_layers != self.layers:
            raise ConfigError(
                f"model.shared_stacks needs as many decoder layers as layers, got model.layers={self.layers} and "
                f"model.decoder_layers={self.decoder_layers}"
            )
        if self.attention_bias != "none" and set(self.attention_bias) - set("qkvo"):
            raise ConfigError(
                f"model.attention_bias={self.attention_bias!r} is none, or names the projections with a bias by "
                "letters out of qkvo (query, key, value, output)"
            )
        check_heads(self)
        check(self)

    def _check_recurrent(self):
        if self.architecture in TRANSFORMERS:
            return
        if self.positions != "none":
            raise ConfigError(f"model.architecture={self.architecture} has no positions: set model.positions=none")
        if self.architecture == "bidirectional_recurrent" and self.pooling not in ("max", "mean"):
            raise ConfigError(
                f"model.pooling={self.pooling}: no one state has read all of a row in both directions; set "
                "model.pooling=max or mean"
            )
        if self.feature_layers and "lm" in self.heads_out:
            raise ConfigError("model.feature_layers puts states under a classifier: it goes with no head lm")

    def _check_new_parts(self):
        for field in ("prefix_length", "prompt_length"):
            if getattr(self, field) and not self.scheme.incremental:
                raise ConfigError(
                    f"model.{field}={getattr(self, field)}: model.positions={self.positions} scores distances between "
                    "tokens, and what stands in front of the text has none; finetune it with lora or adapters"
                )
        if self.prefix_gated and not self.prefix_length:
            raise ConfigError("model.prefix_gated needs model.prefix_length, the number of keys that the gate weighs")
        if self.prompt_length and self.longest_row is not None and self.longest_row < 1:
            raise ConfigError(
                f"model.prompt_length={self.prompt_length} leaves no place for text: the model has "
                f"model.max_positions={self.max_positions} positions; make the prompt shorter"
            )

    def projection_bias(self, letter):
        """Whether the attention projection "q", "k", "v" or "o" has a bias."""
        if self.attention_bias == "none":
            return False
        return letter in self.attention_bias if self.attention_bias else self.use_bias

    @property
    def scheme(self) -> Scheme:
        """The position scheme, as the first block has it."""
        return self.blocks[0].positions

    @property
    def longest_row(self) -> int | None:
        """Tokens of the longest row that a table of positions allows beside the prompt; None: there is no table."""
        positions = self.scheme.longest_row(self)
        return None if positions is None else positions - self.prompt_length

    def unused_layers(self, name: str) -> tuple[int, ...]:
        """Layers whose row of the stacked parameter `name` is there for its shape only."""
        unused = not self.first_attention_norm and "/layers/attention_norm/" in name
        return (0,) if unused else ()

    @property
    def padded_vocab(self):
        """Rows of the embedding table: vocab_size rounded up to a multiple of vocab_multiple."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple


def families() -> list[str]:
    """The names of all families, in order: the files of models/families/."""
    return sorted(module.name for module in pkgutil.iter_modules(family_files.__path__))


def presets(family: str) -> dict[str, dict[str, Any]]:
    """The published sizes of a family: {preset name: options}.

    Raises:
        ConfigError: an unknown family.
    """
    if family not in families():
        hint = suggest(family, families()) or "."
        raise ConfigError(f"unknown model.family={family!r}{hint} Known: {', '.join(families())}")
    return importlib.import_module(f"{family_files.__name__}.{family}").PRESETS


def resolve(settings: Mapping[str, Any], **changes: Any) -> ModelConfig:
    """The ModelConfig of a family's preset with overrides.

    Args:
        settings: a mapping with `family`, `preset` and any other option; None means "as the preset says".
        **changes: options that win over both, e.g. heads_out=("mlm",).

    Raises:
        ConfigError: unknown family, preset, choice, or sizes that do not go together.
    """
    family, preset = settings["family"], settings["preset"]
    sizes = presets(family)
    if preset not in sizes:
        hint = suggest(preset, sizes) or "."
        raise ConfigError(f"unknown model.preset={preset!r} of family {family}{hint} Known: {', '.join(sizes)}")
    fields = {"family": family, "preset": preset, **sizes[preset]}
    overrides = {key: value for key, value in dict(settings).items() if value is not None}
    if "head_dim" not in overrides and ("width" in overrides or "heads" in overrides):
        fields.pop("head_dim", None)  # the preset's head size belongs to the preset's width
    fields.update(overrides, **changes)
    return ModelConfig(**fields)
