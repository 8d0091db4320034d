"""ELMo (Peters et al. 2018): two layers of LSTM in each direction, 4,096 cells projected to 512, with a residual.

Tokens are embedded by a table, where the paper builds them from characters. "base" is the language model, "classifier"
one layer of both directions and the largest value of each feature over a learned mixture of its states.
"""

_SHAPE = dict(
    architecture="bidirectional_recurrent",
    width=512,
    heads=1,
    ffn=4096,
    vocab_size=100_000,
    positions="none",
    lm_bias=True,
    initializer="xavier_uniform",
    dropout=0.1,
    attention_dropout=0.0,
    pooling="max",
    pooler_activation="none",
    head_dropout=0.1,
)
PRESETS = {
    "base": dict(_SHAPE, layers=2, recurrent_residual=True, heads_out=("lm",)),
    "classifier": dict(_SHAPE, layers=1, feature_layers=2, heads_out=("class",)),
}
