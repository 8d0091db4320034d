"""Skip-gram vectors of 300 features (Mikolov et al. 2013, "Distributed representations of words and phrases")."""

PRESETS = {
    "base": dict(
        architecture="word_vectors",
        layers=1,
        width=300,
        heads=1,
        ffn=1,
        vocab_size=100_000,
        positions="none",
        use_bias=False,
        initializer="normal",
        initializer_std=0.001,  # about that of the uniform draw of 1/300 in the published program
        dropout=0.0,
        attention_dropout=0.0,
    ),
}
