"""Every architecture as settings of one frozen dataclass, and published sizes as presets."""

import dataclasses
import importlib

from cloze.errors import ConfigError
from cloze.models.heads import TRANSFORMERS, check_heads
from cloze.options import suggest

FAMILIES = (
    "albert", "bart", "bert", "coco_lm", "deberta", "distilbert", "electra", "elmo", "flaubert", "gemma", "glove",
    "gpt1", "gpt2", "gpt3", "llama", "lstm", "mistral", "qwen2", "roberta", "skip_gram", "spanbert", "t5",
    "transformer", "unilm", "xlnet",
)  # fmt: skip
CHOICES = {
    "architecture": (
        "encoder",
        "decoder",
        "encoder_decoder",
        "recurrent",
        "bidirectional_recurrent",
        "word_vectors",
    ),
    "positions": (
        "learned",
        "sinusoidal",
        "rotary",
        "relative_bias",
        "learned_relative_bias",
        "disentangled",
        "transformer_xl",
        "none",
    ),
    "window_layers": ("all", "odd"),
    "norm": ("layer", "rms"),
    "norm_position": ("pre", "post"),
    "activation": ("gelu", "gelu_tanh", "relu", "silu"),
    "pooling": ("first", "last", "max", "mean"),
    "pooler_activation": ("tanh", "gelu", "gelu_tanh", "relu", "silu", "none"),
    "feature_norm": ("none", "standard", "unit"),
    "initializer": ("normal", "truncated_normal", "scaled_residual", "xavier_uniform", "t5"),
    "dtype": ("float32", "bfloat16"),
    "attention_backend": ("auto", "einsum", "xla", "cudnn"),
    "remat": ("none", "dots", "full"),
}
LEAST = {
    1: "layers width heads kv_heads ffn vocab_size vocab_multiple num_labels",
    0: "decoder_layers token_types max_positions position_offset relative_span relative_buckets enhanced_decoder "
    "window feature_layers feature_size adapter_size prefix_length prompt_length logit_cap",
}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What a transformer computes. Fields are explained in configs/base.py, section `model`.

    `heads_out` names the heads on top, out of models/heads/. `layers` counts the only stack, or the encoder's.
    """

    family: str
    preset: str
    architecture: str
    layers: int
    width: int
    heads: int
    ffn: int
    vocab_size: int
    kv_heads: int = 0  # 0: as many as heads
    head_dim: int = 0  # 0: width / heads
    decoder_layers: int = 0
    vocab_multiple: int = 128
    embedding_width: int = 0  # 0: width
    token_types: int = 0
    feature_layers: int = 0
    recurrent_residual: bool = False
    shared_layers: bool = False
    shared_stacks: bool = False
    positions: str = "learned"
    max_positions: int = 0
    position_offset: int = 0
    rope_theta: float = 10000.0
    rope_scaling: tuple[float, ...] = ()
    relative_buckets: int = 32
    relative_max_distance: int = 128
    relative_bidirectional: bool = False
    relative_span: int = 0
    relative_shared: bool = False
    relative_norm: bool = False
    enhanced_decoder: int = 0
    window: int = 0
    window_layers: str = "all"
    norm: str = "layer"
    norm_position: str = "pre"
    norm_epsilon: float = 1e-5
    norm_plus_one: bool = False
    embedding_norm: bool = False
    final_norm: bool = False
    activation: str = "gelu"
    gated: bool = False
    use_bias: bool = True
    attention_bias: str = ""  # "": as use_bias says
    scale_attention: bool = True
    scale_embeddings: bool = False
    tie_embeddings: bool = True
    scale_tied_logits: bool = False
    lm_bias: bool = False
    logit_cap: float = 0.0
    mlm_transform: bool = True
    pooling: str = "first"
    pooler_activation: str = "tanh"
    pooler_dropout: float = 0.0
    feature_norm: str = "none"
    feature_size: int = 0
    head_dropout: float = 0.1
    classifier_bias: bool = True
    num_labels: int = 2
    initializer: str = "normal"
    initializer_std: float = 0.02
    adapter_size: int = 0
    prefix_length: int = 0
    prefix_gated: bool = False
    prompt_length: int = 0
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    final_dropout: float = 0.0
    dtype: str = "float32"
    attention_backend: str = "auto"
    scan: bool = True
    remat: str = "none"
    heads_out: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "kv_heads", self.kv_heads or self.heads)
        object.__setattr__(self, "embedding_width", self.embedding_width or self.width)
        for field, choices in CHOICES.items():
            value = getattr(self, field)
            if value not in choices:
                raise ConfigError(f"model.{field}={value!r} is not one of {', '.join(choices)}")
        for least, fields in LEAST.items():
            for field in fields.split():
                if getattr(self, field) < least:
                    raise ConfigError(f"model.{field} must be at least {least}, got {getattr(self, field)}")
        if not self.head_dim:
            if self.width % self.heads:
                raise ConfigError(
                    f"model.width={self.width} does not divide into model.heads={self.heads}; change one of them "
                    "or set model.head_dim"
                )
            object.__setattr__(self, "head_dim", self.width // self.heads)
        if self.heads % self.kv_heads:
            raise ConfigError(f"model.kv_heads={self.kv_heads} must divide model.heads={self.heads}")
        self._check_positions()
        self._check_structure()
        self._check_recurrent()
        self._check_new_parts()

    def _check_positions(self):
        if self.positions == "rotary" and self.head_dim % 2:
            raise ConfigError(f"rotary positions need an even head size, got model.head_dim={self.head_dim}")
        if self.positions in ("sinusoidal", "transformer_xl") and self.width % 2:
            raise ConfigError(f"model.positions={self.positions} needs an even model.width, got {self.width}")
        if self.positions in ("disentangled", "transformer_xl") and not self.scale_attention:
            raise ConfigError(f"model.positions={self.positions} has scores of its own scale: set scale_attention=true")
        if self.rope_scaling and len(self.rope_scaling) != 4:
            raise ConfigError(
                "model.rope_scaling takes four numbers (factor, low_freq_factor, high_freq_factor, original length), "
                f"got {self.rope_scaling}"
            )
        if "learned" in self.positions and self.max_positions < 1:
            raise ConfigError("learned positions need model.max_positions")
        if self.positions.endswith("relative_bias") and not 4 <= self.relative_buckets < self.relative_max_distance:
            raise ConfigError("model.relative_buckets must be at least 4 and below model.relative_max_distance")
        if self.positions == "disentangled" and self.relative_span < 1:
            raise ConfigError("disentangled positions need model.relative_span, the longest distance told apart")
        if self.positions == "disentangled" and self.relative_buckets:
            if self.relative_buckets < 2 or self.relative_span <= self.relative_buckets // 2 + 1:
                raise ConfigError(
                    f"model.relative_buckets={self.relative_buckets} must be 0 or at least 2, and half of it below "
                    f"model.relative_span - 1, the longest distance told apart; got model.relative_span="
                    f"{self.relative_span}"
                )
        if self.positions in ("disentangled", "transformer_xl") and self.kv_heads != self.heads:
            raise ConfigError(f"model.positions={self.positions} needs model.kv_heads equal to model.heads")
        if self.enhanced_decoder and (self.positions != "disentangled" or self.max_positions < 1):
            raise ConfigError("model.enhanced_decoder needs model.positions=disentangled and model.max_positions")

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
        for kind in ("", "attention_", "activation_", "final_", "pooler_", "head_"):
            field = f"{kind}dropout"
            if not 0 <= getattr(self, field) < 1:
                raise ConfigError(f"model.{field} must lie in [0, 1), got {getattr(self, field)}")
        if self.attention_dropout and self.attention_backend in ("xla", "cudnn"):
            raise ConfigError(
                f"model.attention_backend={self.attention_backend} has no dropout on attention probabilities: set "
                "model.attention_dropout=0 or model.attention_backend=einsum"
            )

    def _check_recurrent(self):
        if self.architecture in TRANSFORMERS:
            if self.feature_layers or self.recurrent_residual:
                raise ConfigError(
                    f"model.feature_layers and model.recurrent_residual are of recurrent models, not of "
                    f"model.architecture={self.architecture}: leave them unset"
                )
            return
        if self.positions != "none" or self.remat != "none":
            raise ConfigError(
                f"model.architecture={self.architecture} has neither positions nor layers to recompute: set "
                "model.positions=none and model.remat=none"
            )
        if self.architecture == "bidirectional_recurrent" and self.pooling not in ("max", "mean"):
            raise ConfigError(
                f"model.pooling={self.pooling}: no one state has read all of a row in both directions; set "
                "model.pooling=max or mean"
            )
        if self.feature_layers and (self.architecture != "bidirectional_recurrent" or "lm" in self.heads_out):
            raise ConfigError(
                "model.feature_layers puts the states of a model of both directions under a classifier: it needs "
                "model.architecture=bidirectional_recurrent and no head lm"
            )

    def _check_new_parts(self):
        for field in ("adapter_size", "prefix_length", "prompt_length"):
            if getattr(self, field) and self.architecture not in TRANSFORMERS:
                raise ConfigError(
                    f"model.{field}={getattr(self, field)} is a part of transformers, which model.architecture="
                    f"{self.architecture} is not: finetune it with another method"
                )
        for field in ("prefix_length", "prompt_length"):
            if getattr(self, field) and self.positions in ("disentangled", "transformer_xl"):
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
    def longest_row(self):
        """Tokens of the longest row that a table of positions allows beside the prompt; None: there is no table."""
        return self.max_positions - self.prompt_length if "learned" in self.positions or self.enhanced_decoder else None

    @property
    def padded_vocab(self):
        """Rows of the embedding table: vocab_size rounded up to a multiple of vocab_multiple."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple


def presets(family):
    """The published sizes of a family: {preset name: ModelConfig fields}."""
    if family not in FAMILIES:
        hint = suggest(family, FAMILIES) or "."
        raise ConfigError(f"unknown model.family={family!r}{hint} Known: {', '.join(FAMILIES)}")
    return importlib.import_module(f"cloze.models.families.{family}").PRESETS


def resolve(settings, **changes):
    """The ModelConfig of a family's preset with overrides.

    Args:
        settings: a mapping with `family`, `preset` and any ModelConfig field; None means "as the preset says".
        **changes: fields that win over both, e.g. heads_out=("mlm",).

    Raises:
        ConfigError: unknown family, preset, choice, or sizes that do not go together.
    """
    family, preset = settings["family"], settings["preset"]
    known = presets(family)
    if preset not in known:
        hint = suggest(preset, known) or "."
        raise ConfigError(f"unknown model.preset={preset!r} of family {family}{hint} Known: {', '.join(known)}")
    fields = {"family": family, "preset": preset, **known[preset]}
    overrides = {key: value for key, value in dict(settings).items() if value is not None}
    if "head_dim" not in overrides and ("width" in overrides or "heads" in overrides):
        fields.pop("head_dim", None)  # the preset's head size belongs to the preset's width
    fields.update(overrides, **changes)
    return ModelConfig(**fields)
