"""What a file of Hugging Face may say: a type and a range for each key that is read, held to where it is read."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cloze import options
from cloze.errors import ConfigError
from cloze.models.config import MOST_LAYERS
from cloze.options import Declared
from cloze.value_types import Limits


class Key(NamedTuple):
    """One key.

    Attributes:
        hint: type of its value, see value_types.expected; {name: Key} of an object in it. Where the type does not
            allow None, null says nothing, as if the key were not there.
        declared: its choices and limits.
    """

    hint: Any
    declared: Declared = Declared("")


def key(hint: Any, **limits: float) -> Key:
    """A Key with the Limits of a number."""
    return Key(hint, Declared("", limits=Limits(**limits)))


class CheckedObject(Mapping):
    """A JSON object of which only keys that are declared can be read, each checked when it is.

    Args:
        values: the object.
        keys: {name: Key}.
        where: what it is called in messages, "config.json".
        error: what a wrong value raises.
    """

    def __init__(self, values: Mapping, keys: Mapping[str, Key], where: str, error: type[Exception] = ConfigError):
        self._values, self._keys, self._where, self._error = values, keys, where, error

    def __getitem__(self, name: str) -> Any:
        """The value of a key.

        Raises:
            KeyError: the file is silent.
            LookupError: the key is not declared, which is a mistake of ours.
        """
        if name not in self._keys:
            raise LookupError(f"{self._where}: the key {name} is read, and not declared")
        value, (hint, said) = self._values[name], self._keys[name]
        nested = isinstance(hint, Mapping)
        plain = dict[str, Any] if nested else hint
        if value is None and options.expected(None, plain):
            raise KeyError(name)
        called = f"{self._where}: {name}"
        options.check_value(value, plain, said, called, self._error)
        return CheckedObject(value, hint, called, self._error) if nested else value

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._keys if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def replaced(self, **values: Any) -> "CheckedObject":
        """These settings with other values of some keys."""
        return CheckedObject({**self._values, **values}, self._keys, self._where, self._error)


def checked(values: Mapping, keys: Mapping[str, Key], where: str, error: type[Exception]) -> dict[str, Any]:
    """A JSON object of which every declared key is checked; those in which null says nothing are left out."""
    settings = CheckedObject(values, keys, where, error)
    return {name: value for name, value in values.items() if name not in keys or name in settings}


COUNT = key(int, least=0, most=2**31 - 1)
SIZE = key(int, least=1, most=2**31 - 1)
RATE = key(float, least=0, below=1)
POSITIVE = key(float, above=0)
SWITCH, TEXT, TEXTS, ANY = key(bool), key(str), key(list[str]), key(Any)
_OWN_RATE = key(float | None, least=0, below=1)  # null: as the other rates
_WINDOW = key(int | None, least=0, most=2**31 - 1)
_CAP = key(float | None, least=0)
_ROTATION = {
    "rope_type": TEXT,
    "type": TEXT,
    **dict.fromkeys(("rope_theta", "factor", "low_freq_factor", "high_freq_factor"), POSITIVE),
    "original_max_position_embeddings": POSITIVE,
    "partial_rotary_factor": key(float, least=0, most=1),
}
CONFIG = {  # of config.json, beside what formats have in their tables of settings
    "model_type": TEXT,
    "architectures": TEXTS,
    "id2label": key(dict[str, Any]),
    "num_labels": key(int, least=1),
    "layer_types": TEXTS,
    "pad_token_id": key(int | None),
    # Sizes.
    **dict.fromkeys(("hidden_size", "n_embd", "emb_dim", "embedding_size", "pooler_hidden_size"), SIZE),
    **dict.fromkeys(("num_attention_heads", "attention_head_size", "vocab_size"), SIZE),
    **dict.fromkeys(
        (f"{side}_{size}" for side in ("encoder", "decoder") for size in ("attention_heads", "ffn_dim")), SIZE
    ),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "num_decoder_layers"), key(int, least=1, most=MOST_LAYERS)),
    "n_inner": COUNT,
    "decoder_vocab_size": COUNT,
    "num_key_value_heads": key(int | None, least=1),  # null: as many as heads; silence: the default
    "max_position_embeddings": SIZE,
    "max_relative_positions": key(int, least=-1, most=2**31 - 1),
    "position_buckets": key(int, least=-1, most=2**31 - 1),
    # Windows, and which layers have them.
    "sliding_window": _WINDOW,
    "local_attention": SIZE,
    "use_sliding_window": SWITCH,
    "max_window_layers": COUNT,
    "global_attn_every_n_layers": SIZE,
    "sliding_window_pattern": SIZE,
    # Attention and positions.
    "pos_att_type": key(str | list[str]),
    **dict.fromkeys(("relative_attention", "position_biased_input", "share_att_key"), SWITCH),
    "norm_rel_ebd": TEXT,
    "query_pre_attn_scalar": POSITIVE,
    "attn_logit_softcapping": _CAP,
    "final_logit_softcapping": _CAP,
    "rope_parameters": Key({**_ROTATION, "full_attention": Key(_ROTATION), "sliding_attention": Key(_ROTATION)}),
    "rope_scaling": Key(_ROTATION),
    **dict.fromkeys(("rope_theta", "rope_local_base_freq", "rotary_emb_base"), POSITIVE),
    **dict.fromkeys(("global_rope_theta", "local_rope_theta", "original_max_position_embeddings"), POSITIVE),
    "rotary_pct": key(float, least=0, most=1),
    **dict.fromkeys(("attention_bias", "mlp_bias", "classifier_bias", "is_encoder_decoder"), SWITCH),
    **dict.fromkeys(("tie_word_embeddings", "scale_decoder_outputs"), SWITCH),
    # Activations, and rates of dropout.
    **dict.fromkeys(("hidden_act", "hidden_activation", "classifier_activation", "feed_forward_proj"), TEXT),
    **dict.fromkeys(("dropout", "dropout_rate", "hidden_dropout_prob"), RATE),
    **dict.fromkeys(("classifier_dropout", "classifier_dropout_prob", "cls_dropout", "hidden_dropout"), _OWN_RATE),
    **dict.fromkeys(("seq_classif_dropout", "qa_dropout", "summary_first_dropout", "summary_last_dropout"), RATE),
    "summary_type": TEXT,
    "summary_activation": key(str | None),
    **dict.fromkeys(("summary_use_proj", "summary_proj_to_labels"), SWITCH),
}
