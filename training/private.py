"""Differentially private training: gradients of single examples, clipped and summed, with noise on the sum.

Abadi et al. 2016, algorithm 1. Of two training sets that differ in one row, added or removed, neither can be told from
the parameters with more certainty than (epsilon, delta) allow. This holds for rows drawn by `data.poisson`, for a seed
that is kept secret, and for what is computed from gradients alone: metrics of training, a standardisation or principal
components of the features of training examples, and the number of examples are not covered.
"""

import dataclasses
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from cloze.errors import ConfigError
from cloze.models import axes
from cloze.parallel.mesh import ROW_AXES
from cloze.training import methods


@dataclasses.dataclass(frozen=True)
class Privacy:
    """How a run is private.

    Attributes:
        clip_norm, noise_multiplier, expected_size: see `private_gradient`.
        sampling_probability: chance of each example to be in a step.
        delta: chance at which the guarantee may fail.
    """

    clip_norm: float
    noise_multiplier: float
    expected_size: int
    sampling_probability: float
    delta: float

    def epsilon(self, steps):
        """What so many steps have given away; see `epsilon`."""
        return epsilon(steps, self.sampling_probability, self.noise_multiplier, self.delta)


def privacy(config, batches, report):
    """The Privacy of a configuration; None where training is not private.

    Args:
        config: the configuration.
        batches: data.pipeline.Data of the training split.
        report: called with what the guarantee does not cover.

    Raises:
        ConfigError: an objective that is not trained privately.
    """
    f = config.finetune
    if not f.dp_clip_norm:
        return None
    if config.objective.name != "supervised":
        raise ConfigError(
            f"finetune.dp_clip_norm={f.dp_clip_norm}: private training is for labelled examples; set objective.name="
            f"supervised, not {config.objective.name}, or finetune.dp_clip_norm=0"
        )
    if config.train.on_divergence != "stop":
        raise ConfigError(
            f"train.on_divergence={config.train.on_divergence}: epsilon does not cover what is left out because of the "
            "examples in it; set it to stop, or finetune.dp_clip_norm=0"
        )
    report(f"Note: the noise follows from seed={config.seed}: epsilon holds for who does not know it")
    if config.task.kind == "span":
        report("Note: the guarantee is for each window of a long context, not for each example (task.kind=span)")
    method = methods.of(config)
    if method.feature_norm == "standard" or method.feature_size:
        report("Note: epsilon does not cover finetune.feature_norm=standard and feature_size, fitted on the examples")
    probability = config.train.batch_size / len(batches.features.used)
    return Privacy(f.dp_clip_norm, f.dp_noise_multiplier, config.train.batch_size, probability, f.dp_delta)


def private_gradient(
    loss_of_one, trainable, batch, present, key, *, clip_norm, noise_multiplier, expected_size, microbatches
):
    """The noisy mean over examples of their clipped gradients; traceable.

    Args:
        loss_of_one: (trainable, a batch of one row) -> (loss, any tree of scalars). The loss may depend on nothing but
            this row: its weights are the row's own.
        trainable: tree of f32 parameters.
        batch: tree of arrays [B, ...], random keys [B] among them where the loss draws any.
        present: bool [B]; the gradient of other rows is not used, whatever it is.
        key: threefry key of the step. All devices draw the same noise from it.
        clip_norm: the gradient of a row, over all of `trainable`, is scaled to this norm at most.
        noise_multiplier: deviation of the noise on the sum of gradients, in units of clip_norm.
        expected_size: what the noisy sum is divided by: the mean number of rows of a step, which tells nothing of who
            is present.
        microbatches: parts that the rows are cut into, one of which has its single gradients in memory at a time.

    Returns:
        (gradient like `trainable`, sums over the rows that are present of what `loss_of_one` gives besides,
        {"clipped": f32, share of these rows whose gradient was longer than clip_norm}).
    """
    if jax.random.key_impl(key) != "threefry2x32":
        raise ValueError("noise needs a threefry key: jax.random.key(seed, impl='threefry2x32')")
    total = functools.partial(_clipped_sum, loss_of_one, clip_norm=clip_norm)
    size = present.shape[0] // microbatches
    if microbatches > 1:
        total = optax.microbatch(total, argnums=(1, 2), microbatch_size=size)
    gradient, others, clipped = total(trainable, batch, present)

    noise = optax.tree.random_like(key, gradient, jax.random.normal)
    deviation = noise_multiplier * clip_norm
    gradient = jax.tree.map(lambda g, n: (g + deviation * n) / expected_size, gradient, noise)
    return gradient, others, {"clipped": clipped / jnp.maximum(jnp.sum(present), 1)}


def _clipped_sum(loss_of_one, trainable, batch, present, *, clip_norm):
    """Over the rows present: (sum of clipped gradients, sum of what the loss gives besides, number clipped f32)."""

    def one(row, is_present):
        row = jax.tree.map(lambda leaf: leaf[None], row)
        gradient, others = jax.grad(loss_of_one, has_aux=True)(trainable, row)
        # Selected, not multiplied: a row of padding alone may well give NaN.
        return jax.tree.map(lambda leaf: jnp.where(is_present, leaf, 0), (gradient, others))

    # A model asks for its rows to be cut over devices. Here it sees one, and the rows are the axis of vmap.
    rules = [(name, None if name == axes.BATCH else place) for name, place in nn.get_logical_axis_rules()]
    batch, present = jax.tree.map(_place_rows, (batch, present))
    with nn.logical_axis_rules(rules):
        gradients, others = jax.vmap(one, spmd_axis_name=ROW_AXES)(batch, present)
    leaves, structure = jax.tree.flatten(gradients)
    summed, clipped = optax.per_example_global_norm_clip(leaves, clip_norm)
    others = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), others)
    return jax.tree.unflatten(structure, summed), others, clipped.astype(jnp.float32)


def _place_rows(leaf):
    return axes.constrain(leaf, axes.BATCH, *[None] * (leaf.ndim - 1))


def epsilon(steps, sampling_probability, noise_multiplier, delta):
    """What training has given away: the epsilon for a delta, where neighbours differ in one row, added or removed.

    Composes the privacy loss distributions of the steps (dp-accounting), which is tighter than Renyi moments.

    Args:
        steps: updates made.
        sampling_probability: chance of each row to be in a step, independently of all others.
        noise_multiplier: as in `private_gradient`.
        delta: chance at which the guarantee may fail.

    Returns:
        float; infinity without noise, 0 before the first step.
    """
    if not steps:
        return 0.0
    if not noise_multiplier:
        return math.inf
    import dp_accounting  # only where it is used: it takes two seconds
    from dp_accounting import pld

    step = dp_accounting.PoissonSampledDpEvent(sampling_probability, dp_accounting.GaussianDpEvent(noise_multiplier))
    accountant = pld.PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    accountant.compose(step, int(steps))
    return float(accountant.get_epsilon(delta))
