"""GPT (Radford et al. 2018): a post-LN causal decoder without norms on embeddings or output."""

PRESETS = {
    "base": dict(
        architecture="decoder",
        layers=12,
        width=768,
        heads=12,
        ffn=3072,
        vocab_size=40478,
        positions="learned",
        max_positions=512,
        norm="layer",
        norm_position="post",
        norm_epsilon=1e-5,
        activation="gelu_tanh",
        initializer="normal",
        initializer_std=0.02,
        dropout=0.1,
        attention_dropout=0.1,
        pooling="last",
        pooler_activation="none",
        head_dropout=0.1,
        classifier_bias=False,
        heads_out=("lm",),
    ),
}
