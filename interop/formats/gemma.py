"""Gemma: Llama with scaled embeddings and norms times 1 + scale. Its "gelu" means the tanh form.

Its releases say `hidden_activation` as well, which transformers 5 does not read.
"""

from cloze.interop.format import ACTIVATIONS, Format
from cloze.interop.formats import llama

_ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_tanh", **ACTIVATIONS, "gelu": "gelu_tanh"}

FORMAT = Format(
    model_type="gemma",
    families=("gemma",),
    preset="7b",
    base="model.",
    classes=llama.classes("Gemma", without=("span",)),
    fields=tuple(
        field._replace(values=_ACTIVATIONS) if field.ours == "activation" else field
        for field in llama.fields(
            vocab_size=256000, hidden_size=3072, intermediate_size=24576, num_hidden_layers=28, num_attention_heads=16,
            num_key_value_heads=16, head_dim=256, hidden_act="gelu_pytorch_tanh", max_position_embeddings=8192,
            tie_word_embeddings=True,
        )
    ),
    names=llama.NAMES,
    fixed={**llama.FIXED, "use_bidirectional_attention": (None, False)},
    copies=llama.COPIES,
    ignored=llama.IGNORED,
    read=lambda settings, tensors: {**llama.read(settings, tensors), **llama.read_biases(settings)},
    write=lambda config: {**llama.write(config), "attention_bias": config.projection_bias("q")},
)  # fmt: skip
