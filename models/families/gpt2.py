"""GPT-2 (Radford et al. 2019): a pre-LN causal decoder with tied embeddings."""

_GPT2 = dict(
    architecture="decoder",
    vocab_size=50257,
    max_positions=1024,
    positions="learned",
    norm="layer",
    norm_position="pre",
    norm_epsilon=1e-5,
    final_norm=True,
    activation="gelu_tanh",
    initializer="scaled_residual",
    initializer_std=0.02,
    dropout=0.1,
    attention_dropout=0.1,
    pooling="last",
    pooler_activation="none",
    classifier_bias=False,
    heads_out=("lm",),
)

PRESETS = {
    "small": dict(_GPT2, layers=12, width=768, heads=12, ffn=3072),
    "medium": dict(_GPT2, layers=24, width=1024, heads=16, ffn=4096),
    "large": dict(_GPT2, layers=36, width=1280, heads=20, ffn=5120),
    "xl": dict(_GPT2, layers=48, width=1600, heads=25, ffn=6400),
}
