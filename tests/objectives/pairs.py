"""Tiny composites and rows that the tests of their objectives share."""

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import meta

from cloze import models

VOCAB, CLS, SEP, MASK = 40, 2, 3, 4
LENGTH = 16
SIZE = dict(
    vocab_size=VOCAB, vocab_multiple=8, width=32, heads=4, ffn=64, layers=2, max_positions=32, dropout=0.0,
    attention_dropout=0.0,
)  # fmt: skip


def composite(objective, family="electra", preset="small", **changes):
    """The composite of an objective, and parameters from N(0, 0.2), so that nothing is at a value that hides it."""
    config = models.resolve(dict(family=family, preset=preset, **SIZE | changes), heads_out=objective.outputs)
    model = objective.model(config)
    shapes = jax.eval_shape(lambda: meta.unbox(model.init(jax.random.key(0), models.example_batch())))["params"]
    leaves, structure = jax.tree.flatten(shapes)
    rng = np.random.default_rng(1)
    return model, jax.tree.unflatten(structure, [jnp.asarray(rng.normal(0, 0.2, x.shape), jnp.float32) for x in leaves])


def rows(lengths, length=LENGTH, seed=0):
    """Rows [CLS] text [SEP] of the given numbers of tokens, and padding, which looks like text to all but segments."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(6, 32, (len(lengths), length), dtype=np.int32)
    segments = (np.arange(length) < np.asarray(lengths)[:, None]).astype(np.int32)
    for row, count in zip(tokens, lengths, strict=True):
        row[:1] = CLS
        if count > 1:
            row[count - 1] = SEP
    places = np.arange(len(lengths), dtype=np.int32)
    return {"tokens": tokens, "segments": segments, "row": places, "row_id": places}


def to_numpy(tree):
    return jax.tree.map(np.asarray, tree)


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def softmax(x):
    x = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def check_terms(terms, expected):
    """Means of {name: (list of values, coefficient)} equal those of the terms."""
    for name, (values, coefficient) in expected.items():
        term = terms[name]
        np.testing.assert_allclose(term.sum, np.sum(values), rtol=2e-4, atol=1e-5, err_msg=name)
        assert float(term.weight) == len(values) and term.coefficient == coefficient, name


def total(terms):
    return sum(term.coefficient * term.sum / jnp.maximum(term.weight, 1) for term in terms.values())


def gradients(model, objective, params, batch, *chosen):
    """{name: gradient} of each chosen set of terms, one jitted program for all."""
    from cloze.models import names

    def scores(params):
        terms = objective.loss(model.apply({"params": params}, batch), batch)
        return [total({name: terms[name] for name in some}) for some in chosen]

    jacobian = jax.jit(jax.jacrev(scores))(params)
    return [{n: np.asarray(g) for n, g in names.flatten(tree).items()} for tree in jacobian]
