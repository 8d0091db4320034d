"""Every architecture as settings of one frozen dataclass, and published sizes as presets."""

import dataclasses
import difflib
import importlib

from errors import ConfigError

FAMILIES = ("bert", "gpt2", "gpt3", "t5")
CHOICES = {
    "architecture": ("encoder", "decoder", "encoder_decoder"),
    "positions": ("learned", "sinusoidal", "rotary", "relative_bias", "none"),
    "norm": ("layer", "rms"),
    "norm_position": ("pre", "post"),
    "activation": ("gelu", "gelu_tanh", "relu", "silu"),
    "initializer": ("normal", "truncated_normal", "scaled_residual", "t5"),
    "dtype": ("float32", "bfloat16"),
    "attention_backend": ("auto", "einsum", "xla", "cudnn"),
    "remat": ("none", "dots", "full"),
}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What a transformer computes. Fields are explained in configs/base.py, section `model`.

    `heads_out` names the heads on top: "lm" (vocabulary, next token), "mlm" (BERT's vocabulary head), "nsp" (two
    classes from the pooler), "pooler" (the pooler alone). `layers` counts the only stack, or the encoder's.
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
    token_types: int = 0
    positions: str = "learned"
    max_positions: int = 0
    rope_theta: float = 10000.0
    relative_buckets: int = 32
    relative_max_distance: int = 128
    window: int = 0
    norm: str = "layer"
    norm_position: str = "pre"
    norm_epsilon: float = 1e-5
    embedding_norm: bool = False
    final_norm: bool = False
    activation: str = "gelu"
    gated: bool = False
    use_bias: bool = True
    scale_attention: bool = True
    tie_embeddings: bool = True
    scale_tied_logits: bool = False
    initializer: str = "normal"
    initializer_std: float = 0.02
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
        for field, choices in CHOICES.items():
            value = getattr(self, field)
            if value not in choices:
                raise ConfigError(f"model.{field}={value!r} is not one of {', '.join(choices)}")
        for field in ("layers", "width", "heads", "kv_heads", "ffn", "vocab_size", "vocab_multiple"):
            if getattr(self, field) < 1:
                raise ConfigError(f"model.{field} must be at least 1, got {getattr(self, field)}")
        if not self.head_dim:
            if self.width % self.heads:
                raise ConfigError(
                    f"model.width={self.width} does not divide into model.heads={self.heads}; change one of them "
                    "or set model.head_dim"
                )
            object.__setattr__(self, "head_dim", self.width // self.heads)
        if self.heads % self.kv_heads:
            raise ConfigError(f"model.kv_heads={self.kv_heads} must divide model.heads={self.heads}")
        if self.positions == "rotary" and self.head_dim % 2:
            raise ConfigError(f"rotary positions need an even head size, got model.head_dim={self.head_dim}")
        if (self.architecture == "encoder_decoder") != (self.decoder_layers > 0):
            raise ConfigError(
                f"model.architecture={self.architecture} does not go with model.decoder_layers={self.decoder_layers}: "
                "an encoder_decoder needs at least 1, the others 0"
            )
        if self.positions == "learned" and self.max_positions < 1:
            raise ConfigError("learned positions need model.max_positions")
        if self.positions == "relative_bias" and not 4 <= self.relative_buckets < self.relative_max_distance:
            raise ConfigError("model.relative_buckets must be at least 4 and below model.relative_max_distance")
        for field in ("dropout", "attention_dropout", "activation_dropout", "final_dropout"):
            if not 0 <= getattr(self, field) < 1:
                raise ConfigError(f"model.{field} must lie in [0, 1), got {getattr(self, field)}")
        if self.attention_dropout and self.attention_backend in ("xla", "cudnn"):
            raise ConfigError(
                f"model.attention_backend={self.attention_backend} has no dropout on attention probabilities: set "
                "model.attention_dropout=0 or model.attention_backend=einsum"
            )

    @property
    def padded_vocab(self):
        """Rows of the embedding table: vocab_size rounded up to a multiple of vocab_multiple."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple


def presets(family):
    """The published sizes of a family: {preset name: ModelConfig fields}."""
    if family not in FAMILIES:
        raise ConfigError(f"unknown model.family={family!r}{_suggest(family, FAMILIES)} Known: {', '.join(FAMILIES)}")
    return importlib.import_module(f"models.families.{family}").PRESETS


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
        raise ConfigError(
            f"unknown model.preset={preset!r} of family {family}{_suggest(preset, known)} Known: {', '.join(known)}"
        )
    fields = {"family": family, "preset": preset, **known[preset]}
    overrides = {key: value for key, value in dict(settings).items() if value is not None}
    if "head_dim" not in overrides and ("width" in overrides or "heads" in overrides):
        fields.pop("head_dim", None)  # the preset's head size belongs to the preset's width
    fields.update(overrides, **changes)
    return ModelConfig(**fields)


def _suggest(word, known):
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else "."
