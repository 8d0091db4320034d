"""Marian, the class of transformers that is closest to the original Transformer: its stacks with biases everywhere.

The paper's attention has no biases, so that only models with `attention_bias` "" or "qkvo" can be written, and the
epsilon of the norms is 1e-5, always. The tables of sinusoids that some files hold are constants, and computed anew.
"""

from cloze.errors import ConfigError
from cloze.interop.format import Format, Leaf, ModelClass, Row
from cloze.interop.formats import bart

# [1, V] for our [V].
LOGITS_BIAS = (Leaf("", "", lambda array, config: array[0], lambda shape, config: (1, *shape)),)


def _read(settings, tensors):
    bart.check_sides(settings)
    words = settings.get("vocab_size", 58101)
    others = settings.get("decoder_vocab_size") or words
    if others != words:
        raise ConfigError(
            f"config.json: vocab_size={words} and decoder_vocab_size={others} differ: both sides of our models share "
            "one table"
        )
    return {
        "attention_bias": "",
        "norm_epsilon": 1e-5,
        # transformers has it always, and takes zeros where the file lacks it.
        "lm_bias": "final_logits_bias" in tensors,
    }


def _write(config):
    # transformers' own default is beyond a smaller table. The released models pad with their last piece.
    last = config.vocab_size - 1
    return {**bart.write_sides(config), "pad_token_id": last, "decoder_start_token_id": last}


FORMAT = Format(
    model_type="marian",
    families=("transformer",),
    preset="base",
    base="model.",
    classes={"MarianMTModel": ModelClass(heads=("lm",)), "MarianModel": ModelClass(base="")},
    fields=tuple(field._replace(default=58101) if field.theirs == "vocab_size" else field for field in bart.FIELDS),
    names=(*bart.NAMES, Row("lm_head/bias", "final_logits_bias", LOGITS_BIAS)),
    fixed={**bart.FIXED, "share_encoder_decoder_embeddings": (True,)},
    keys={"is_encoder_decoder": True, "forced_eos_token_id": 0},
    copies=bart.COPIES,
    ignored=(r".*(encoder|decoder)\.embed_positions\.weight",),
    read=_read,
    write=_write,
)
