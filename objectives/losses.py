"""Cross-entropy over a vocabulary in few passes over the logits, and the terms that most objectives share."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from cloze import options
from cloze.objectives.base import Objective, Term


def _is_target(logits_V, targets):
    # A comparison that fuses into its consumer, where a one-hot array or a scatter would be one more pass.
    return jax.lax.broadcasted_iota(targets.dtype, logits_V.shape, logits_V.ndim - 1) == targets[..., None]


def _target_logits(logits_V, targets):
    return jnp.take_along_axis(logits_V, targets[..., None], axis=-1)[..., 0].astype(jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def cross_entropy(logits_V, targets, label_smoothing=0.0, z_loss=0.0):
    """Cross-entropy of a softmax with integer targets, computed in float32.

    With label smoothing s the target distribution is (1 - s) * one_hot + s / V (Szegedy et al. 2016, section 7). With
    z_loss c, c * log(Z) ** 2 is added, Z being the softmax's denominator (Chowdhery et al. 2022, section 5).

    Args:
        logits_V: float [..., V].
        targets: int [...], each in [0, V).
        label_smoothing: Python float in [0, 1).
        z_loss: Python float, 0 or more.

    Returns:
        f32 [...], the loss of each target. The gradient has the dtype of the logits.
    """
    return _cross_entropy_forward(logits_V, targets, label_smoothing, z_loss)[0]


def _cross_entropy_forward(logits_V, targets, label_smoothing, z_loss):
    x_V = logits_V.astype(jnp.float32)
    log_z = jax.nn.logsumexp(x_V, axis=-1)
    expected = _target_logits(logits_V, targets)
    if label_smoothing:
        expected = (1 - label_smoothing) * expected + label_smoothing * jnp.mean(x_V, axis=-1)
    loss = log_z - expected
    if z_loss:
        loss += z_loss * jnp.square(log_z)
    # Keeping log Z rather than the softmax spares an array of the size of the logits: the backward pass makes the
    # softmax on the fly.
    return loss, (logits_V, targets, log_z)


def _cross_entropy_backward(label_smoothing, z_loss, residuals, cotangent):
    logits_V, targets, log_z = residuals
    softmax_V = jnp.exp(logits_V.astype(jnp.float32) - log_z[..., None])
    scale = cotangent * (1 + 2 * z_loss * log_z) if z_loss else cotangent
    target_V = jnp.where(_is_target(logits_V, targets), 1 - label_smoothing, 0.0)
    if label_smoothing:
        target_V += label_smoothing / logits_V.shape[-1]
    gradient_V = softmax_V * scale[..., None] - target_V * cotangent[..., None]
    return gradient_V.astype(logits_V.dtype), None


cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def is_top(logits_V, targets):
    """Whether each target is the argmax of its logits.

    The same as `jnp.argmax(logits_V, -1) == targets`, also where logits tie (the first of the largest counts), but
    one plain comparison and reduction instead of one that carries indices, which is several times slower on CPUs.

    Args:
        logits_V: float [..., V], without NaN (a row that has one counts as wrong).
        targets: int [...].

    Returns:
        bool [...].
    """
    target = jnp.take_along_axis(logits_V, targets[..., None], axis=-1)
    not_before = jax.lax.broadcasted_iota(targets.dtype, logits_V.shape, logits_V.ndim - 1) >= targets[..., None]
    return jnp.all((logits_V < target) | ((logits_V == target) & not_before), axis=-1)


def classification_terms(logits_V, targets, weights, names, *, label_smoothing=0.0, z_loss=0.0):
    """The weighted cross-entropy and the accuracy of predictions, as two terms.

    Args:
        logits_V: float [..., V].
        targets: int [...].
        weights: f32 [...], 0 where nothing is scored.
        names: names of the loss and of the metric.
        label_smoothing, z_loss: see `cross_entropy`.

    Returns:
        {names[0]: loss with coefficient 1, names[1]: accuracy with coefficient 0}.
    """
    losses = cross_entropy(logits_V, targets, label_smoothing, z_loss)
    right = is_top(jax.lax.stop_gradient(logits_V), targets)
    weight = jnp.sum(weights)
    loss, accuracy = names
    return {
        loss: Term(jnp.sum(losses * weights), weight, 1.0),
        accuracy: Term(jnp.sum(right * weights), weight, 0.0),
    }


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TokenLoss(Objective):
    """An objective that scores tokens by cross-entropy, and its options; see `cross_entropy`."""

    label_smoothing: float = options.option(
        0.0, "share of the target spread evenly over the vocabulary", least=0, below=1
    )
    z_loss: float = options.option(
        0.0, "coefficient of log(Z)^2, keeps logits near zero (T5 pretraining: 1e-4)", least=0, below=math.inf
    )

    def token_terms(self, logits_V, targets, weights, names=("loss", "accuracy")):
        """As `classification_terms`, with this objective's label smoothing and z-loss."""
        smooth = dict(label_smoothing=self.label_smoothing, z_loss=self.z_loss)
        return classification_terms(logits_V, targets, weights, names, **smooth)

    def loss(self, outputs, batch):
        """Terms "loss" (nats a token that is scored) and "accuracy"."""
        return self.token_terms(outputs.logits, batch["targets"], batch["target_weights"])

    def for_validation(self):
        """Without label smoothing and z-loss."""
        plain = {name: 0.0 for name in ("label_smoothing", "z_loss") if name in options.declared(type(self))}
        return dataclasses.replace(self, **plain)
