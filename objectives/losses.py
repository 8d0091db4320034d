"""Cross-entropy over a vocabulary in few passes over the logits, and the terms that most objectives share."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from cloze import options
from cloze.models.outputs import Padded
from cloze.models.platforms import platform
from cloze.objectives.base import Objective, Term

LANES = 768  # columns of logits that are added up at a time on a CPU


def _is_target(logits_V, targets):
    # A comparison that fuses into its consumer, where a one-hot array or a scatter would be one more pass.
    return _places(logits_V) == targets[..., None]


def _target_logits(logits_V, targets):
    return jnp.take_along_axis(logits_V, targets[..., None], axis=-1)[..., 0].astype(jnp.float32)


def _counted(logits_V, size):
    """f32 logits, those from `size` on so low that a softmax gives them nothing; None: all count."""
    x_V = logits_V.astype(jnp.float32)
    if size is None or size == x_V.shape[-1]:
        return x_V
    return jnp.where(_places(x_V) < size, x_V, -jnp.inf)


def _places(logits_V):
    return jax.lax.broadcasted_iota(jnp.int32, logits_V.shape, logits_V.ndim - 1)


def _log_z(logits_V, size):
    """f32 [...], the logarithm of the sum of the exponentials of the logits that count, see `_counted`.

    XLA's CPU backend writes a map of the logits down before it adds it up: there, columns are added up `LANES` at a
    time, which takes a third of the time and no memory.
    """
    size = logits_V.shape[-1] if size is None else size
    if platform() != "cpu" or size < 2 * LANES:
        return jax.nn.logsumexp(_counted(logits_V, size), axis=-1)
    x_RV = logits_V.reshape(-1, logits_V.shape[-1])
    whole = size // LANES
    rest_R = x_RV[:, whole * LANES : size].astype(jnp.float32)

    def over_columns(step, start):
        def body(i, carry):
            return step(carry, jax.lax.dynamic_slice_in_dim(x_RV, i * LANES, LANES, axis=1).astype(jnp.float32))

        return jax.lax.fori_loop(0, whole, body, jnp.full((len(x_RV), LANES), start, jnp.float32))

    top_R = jnp.maximum(jnp.max(over_columns(jnp.maximum, -jnp.inf), -1), jnp.max(rest_R, -1, initial=-jnp.inf))
    top_R = jnp.where(jnp.isfinite(top_R), top_R, 0.0)
    shifted = lambda x: jnp.exp(x - top_R[:, None])  # noqa: E731
    sum_R = jnp.sum(over_columns(lambda total, x: total + shifted(x), 0.0), -1) + jnp.sum(shifted(rest_R), -1)
    return (top_R + jnp.log(sum_R)).reshape(logits_V.shape[:-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def cross_entropy(logits_V, targets, label_smoothing=0.0, z_loss=0.0, size=None):
    """Cross-entropy of a softmax with integer targets, computed in float32.

    With label smoothing s the target distribution is (1 - s) * one_hot + s / V (Szegedy et al. 2016, section 7). With
    z_loss c, c * log(Z) ** 2 is added, Z being the softmax's denominator (Chowdhery et al. 2022, section 5).

    Args:
        logits_V: float [..., V].
        targets: int [...], each in [0, V).
        label_smoothing: Python float in [0, 1).
        z_loss: Python float, 0 or more.
        size: how many of the last axis count, from its start; V is that many then. None: all.

    Returns:
        f32 [...], the loss of each target. The gradient has the dtype of the logits.
    """
    return _cross_entropy_forward(logits_V, targets, label_smoothing, z_loss, size)[0]


def _cross_entropy_forward(logits_V, targets, label_smoothing, z_loss, size):
    log_z = _log_z(logits_V, size)
    expected = _target_logits(logits_V, targets)
    if label_smoothing:
        expected = (1 - label_smoothing) * expected + label_smoothing * jnp.mean(
            logits_V[..., :size].astype(jnp.float32), axis=-1
        )
    loss = log_z - expected
    if z_loss:
        loss += z_loss * jnp.square(log_z)
    # Keeping log Z rather than the softmax spares an array of the size of the logits: the backward pass makes the
    # softmax on the fly.
    return loss, (logits_V, targets, log_z)


def _cross_entropy_backward(label_smoothing, z_loss, size, residuals, cotangent):
    logits_V, targets, log_z = residuals
    softmax_V = jnp.exp(_counted(logits_V, size) - log_z[..., None])
    if z_loss:
        softmax_V *= (1 + 2 * z_loss * log_z)[..., None]
    gradient_V = jnp.where(_is_target(logits_V, targets), softmax_V - (1 - label_smoothing), softmax_V)
    if label_smoothing:
        count = logits_V.shape[-1] if size is None else size
        gradient_V -= jnp.where(_places(logits_V) < count, label_smoothing / count, 0.0)
    return (gradient_V * cotangent[..., None]).astype(logits_V.dtype), None


cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def is_top(logits_V, targets, size=None):
    """Whether each target is the argmax of its logits.

    The same as `jnp.argmax(logits_V, -1) == targets`, also where logits tie (the first of the largest counts), but
    one plain comparison and reduction instead of one that carries indices, which is several times slower on CPUs.

    Args:
        logits_V: float [..., V], without NaN (a row that has one counts as wrong).
        targets: int [...].
        size: as in `cross_entropy`.

    Returns:
        bool [...].
    """
    target = jnp.take_along_axis(logits_V, targets[..., None], axis=-1)
    not_before = _places(logits_V) >= targets[..., None]
    below = (logits_V < target) | ((logits_V == target) & not_before)
    return jnp.all(below if size is None else below | (_places(logits_V) >= size), axis=-1)


def losses_and_hits(logits, targets, label_smoothing=0.0, z_loss=0.0):
    """(`cross_entropy`, `is_top`) of logits, which may be models.outputs.Padded."""
    logits_V, size = (logits.array, logits.size) if isinstance(logits, Padded) else (logits, None)
    losses = cross_entropy(logits_V, targets, label_smoothing, z_loss, size)
    return losses, is_top(jax.lax.stop_gradient(logits_V), targets, size)


def classification_terms(logits, targets, weights, names, *, label_smoothing=0.0, z_loss=0.0):
    """The weighted cross-entropy and the accuracy of predictions, as two terms.

    Args:
        logits: float [..., V], or models.outputs.Padded.
        targets: int [...].
        weights: f32 [...], 0 where nothing is scored.
        names: names of the loss and of the metric.
        label_smoothing, z_loss: see `cross_entropy`.

    Returns:
        {names[0]: loss with coefficient 1, names[1]: accuracy with coefficient 0}.
    """
    losses, right = losses_and_hits(logits, targets, label_smoothing, z_loss)
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

    def token_terms(self, logits, targets, weights, names=("loss", "accuracy")):
        """As `classification_terms`, with this objective's label smoothing and z-loss."""
        smooth = dict(label_smoothing=self.label_smoothing, z_loss=self.z_loss)
        return classification_terms(logits, targets, weights, names, **smooth)

    def loss(self, outputs, batch):
        """Terms "loss" (nats a token that is scored) and "accuracy"."""
        return self.token_terms(outputs.over_vocabulary(), batch["targets"], batch["target_weights"])

    def for_validation(self):
        """Without label smoothing and z-loss."""
        plain = {name: 0.0 for name in ("label_smoothing", "z_loss") if name in options.declared(type(self))}
        return dataclasses.replace(self, **plain)
