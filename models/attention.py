"""Attention over grouped key/value heads: one function, several backends (models/backends/).

Shapes: B rows, T queries, S keys, H query heads, K key/value heads (H is a multiple of K), E head size.
"""

from cloze.models.backends import choice
from cloze.models.backends.choice import BACKENDS


def attention(
    q_BTHE, k_BSKE, v_BSKE, visibility, *, bias=None, scale, softcap=0.0, dropout=0.0, key=None, backend="auto"
):
    """Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1).

    Args:
        q_BTHE, k_BSKE, v_BSKE: queries, keys, values in the compute dtype.
        visibility: models.inputs.Visibility.
        bias: f32 [1 or B, H, T, S] added to the scores, or None.
        scale: factor on the scores; T5 has 1.
        softcap: scores become softcap * tanh(scores / softcap), where positive.
        dropout: rate on the attention probabilities; needs `key`.
        key: random key for dropout.
        backend: "auto" or a name of models.backends; "einsum" is the reference.

    Returns:
        [B, T, H, E] in the dtype of the queries. A query that sees no key gets zeros.

    Raises:
        ConfigError: a backend other than "auto" that does not compute this.
    """
    dropout = dropout if key is not None else 0.0
    case = choice.case_of(q_BTHE, k_BSKE, visibility, bias, softcap, dropout, key)
    chosen = choice.choose(case) if backend == "auto" else choice.asked(backend, case)
    choice.note(chosen)
    compute = BACKENDS[chosen.backend]().compute
    return compute(
        q_BTHE, k_BSKE, v_BSKE, visibility, bias=bias, scale=scale, softcap=softcap, dropout=dropout, key=key
    )
