"""The LSTM language model of Dai and Le (2015), and the classifier that starts from it: one layer of 1,024 cells.

Embeddings have 512 features there and enter the layer as they are; here they have the layer's width, so that the
vocabulary head can reuse them.
"""

PRESETS = {
    "base": dict(
        architecture="recurrent",
        layers=1,
        width=1024,
        heads=1,
        ffn=1024,
        vocab_size=100_000,
        positions="none",
        lm_bias=True,
        initializer="xavier_uniform",
        dropout=0.1,
        attention_dropout=0.0,
        pooling="last",
        pooler_activation="none",
        head_dropout=0.1,
        heads_out=("lm",),
    ),
}
