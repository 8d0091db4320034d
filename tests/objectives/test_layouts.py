"""The loss of a step and its gradient do not depend on how its examples are laid out, nor on microbatches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta

from cloze import models
from cloze.data.example_batches import ExampleBatches
from cloze.data.order import Epochs
from cloze.models import names
from tests.data.features import LENGTH, VOCAB, features, layout

SIZE = dict(
    vocab_size=VOCAB, vocab_multiple=4, width=16, heads=2, ffn=32, layers=1, max_positions=LENGTH, dropout=0.0,
    attention_dropout=0.0, head_dropout=0.0, num_labels=3,
)  # fmt: skip
RNG = np.random.default_rng(5)
LENGTHS = [[int(length)] for length in RNG.integers(1, LENGTH // 2 + 1, 12)]
FAMILIES = {
    "bert": (dict(family="bert", preset="base"), ("class", "span"), {}),
    "gpt2": (
        dict(family="gpt2", preset="small"),
        ("class", "text"),
        {"class": dict(objective__lm_weight=0.5), "text": dict(objective__prefix="full")},
    ),
}


@pytest.fixture(scope="module", params=FAMILIES)
def setting(request, build):
    """(parameters, {kind: batches by layout}, function of parameters, {kind: batch}, weights to gradient and terms)."""
    size, kinds, options = FAMILIES[request.param]
    architecture = "encoder" if request.param == "bert" else "decoder"
    objectives, made, built = {}, {}, {}
    for kind in kinds:
        name = "responses" if kind == "text" else "supervised"
        shape = dict(architecture=architecture, pooling="first" if architecture == "encoder" else "last")
        objectives[kind] = build(name, task__kind=kind, model=shape, **options.get(kind, {}))
        built[kind] = models.build(models.resolve(size | SIZE, heads_out=objectives[kind].outputs))
        frame = layout(kind, architecture, pool=shape["pooling"], types=architecture == "encoder")
        frame = frame if kind != "text" else layout(kind, architecture, full_prefix=True)
        made[kind] = features(LENGTHS, frame)
    heads = sorted({head for objective in objectives.values() for head in objective.outputs})
    whole = models.build(models.resolve(size | SIZE, heads_out=tuple(heads)))
    init = jax.jit(lambda: meta.unbox(whole.init(jax.random.key(0), models.example_batch()))["params"])
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda x: jnp.array(rng.normal(0, 0.3, x.shape), jnp.float32), init())

    def loss(params, batches, weights):
        terms = {}
        for kind, batch in batches.items():
            batch = objectives[kind].corrupt(jax.random.key(0), batch)
            outputs = built[kind].apply({"params": params}, batch)
            terms |= {(kind, name): term for name, term in objectives[kind].loss(outputs, batch).items()}
        weights = weights or {name: term.weight for name, term in terms.items()}
        total = sum(term.coefficient * term.sum / weights[name] for name, term in terms.items())
        return total, {name: (term.sum, term.weight) for name, term in terms.items()}

    function = jax.jit(jax.value_and_grad(loss, has_aux=True))
    return params, made, lambda batches, weights=None: function(params, batches, weights)


def rows(made, batching, step=0):
    settings = dict(batching=batching, length=LENGTH, pad=0, multiple=2)
    orders = {kind: Epochs([len(one.used)], [1.0], seed=3, size=8, shuffle=True) for kind, one in made.items()}
    return {kind: ExampleBatches([one], orders[kind], **settings).batches(step) for kind, one in made.items()}


def test_layouts_and_microbatches_give_the_same_loss_and_gradient(setting):
    _, made, function = setting
    (expected, terms), gradient = function(rows(made, "pad"))
    weights = {name: weight for name, (_, weight) in terms.items()}
    assert all(weight > 0 for weight in weights.values())
    flat = names.flatten(gradient)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)

    packed, short = rows(made, "pack"), rows(made, "buckets")
    assert all(len(batch["tokens"]) < 8 for batch in packed.values())
    assert all(batch["tokens"].shape == (8, 8) for batch in short.values())
    halves = [jax.tree.map(lambda x, part=part: x[part::2], short) for part in range(2)]
    for parts in ([packed], halves):
        found = [function(part, weights) for part in parts]
        close(sum(value for (value, _), _ in found), expected)
        for name, (total, weight) in terms.items():
            sums = [of_part[name] for (_, of_part), _ in found]
            close(np.sum(sums, axis=0), (total, weight), err_msg=str(name))
        for name, array in names.flatten(jax.tree.map(lambda *x: sum(x), *[g for _, g in found])).items():
            close(array, flat[name], err_msg=name)
