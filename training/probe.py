"""A linear probe that is solved: the best head on kept features, with a penalty chosen on validation examples.

Linear classifiers tell what the states of a layer hold (Alain and Bengio 2016, arXiv:1610.01644). The best one is the
solution of a convex problem, which L-BFGS finds in seconds; some epochs of an optimizer for deep networks stop short.
"""

import math
import time
import warnings

import jax
import numpy as np

from cloze.errors import ConfigError, DivergedError
from cloze.models import names
from cloze.models.features import FeatureTransform, has_transform
from cloze.models.heads import HEADS
from cloze.training import features, methods
from cloze.training.validation import Validator

KINDS = ("class", "regression", "tag")
LARGEST = 4 * 2**30  # bytes of training features that are held in memory, in two copies
MOST_ITERATIONS = 1000
TOLERANCE = 1e-4  # on each component of the mean loss's gradient
ABSENT = -30.0  # logit of a label without a training example, below all others


def is_solved(program, report):
    """Whether the run's probe is solved: finetune.solver is lbfgs, or is auto and nothing stands against it.

    Args:
        program: training.program.Program, before its features are kept.
        report: called with the reason where auto trains in steps.

    Raises:
        ConfigError: finetune.solver is lbfgs and the head cannot be solved.
    """
    method = methods.of(program.run.config)
    if method.solver == "steps":
        return False
    reason = _hindrance(program)
    if reason and method.solver == "lbfgs":
        raise ConfigError(f"finetune.solver=lbfgs cannot solve this head: {reason}; mend that, or set it to steps")
    if reason:
        report(f"The probe is trained in steps: {reason}")
    return not reason


def _hindrance(program):
    """Why the head cannot be solved, or None."""
    run, config, trains = program.run, program.run.config, program.split.trainable_shapes()
    if config.task.kind not in KINDS:
        return f"task.kind={config.task.kind} is none of {', '.join(KINDS)}"
    if reason := features.hindrance(program):
        return reason
    if besides := sorted(set(trains) - set(_head(program))):
        return f"{besides[0]} trains beside the linear layer"
    if run.privacy is not None:
        return "private training adds noise to the gradients of steps (finetune.dp_clip_norm)"
    if config.train.ema_decay:
        return "there are no steps to average over (train.ema_decay)"
    if config.objective.label_smoothing or config.objective.z_loss:
        return "the loss is that of the labels alone (objective.label_smoothing and z_loss are 0)"
    if config.task.kind == "class" and not program.model.config.classifier_bias and _some_label_is_absent(run):
        return "some label has no training example, and the head has no bias to say so (model.classifier_bias)"
    size = features.size(run.data["train"], program)
    if size > LARGEST:
        return f"the training features would take {size / 2**30:.0f} GiB of memory, more than {LARGEST / 2**30:.0f}"
    return None


def _some_label_is_absent(run):
    data = run.data["train"].features
    labels = data.arrays["labels"][data.used]
    return len(np.unique(labels[labels >= 0])) < run.model_config.num_labels


def _head(program):
    """(name of the kernel, of the bias) of the linear layer that gives the scores."""
    module = HEADS[program.run.objective.outputs[0]].modules[-1]
    return f"{module}/kernel", f"{module}/bias"


def solve(program, state, *, checkpoints, writer, facts, report):
    """Solves the head for each of finetune.penalties, and saves the best as the run's last step.

    Args:
        program: training.program.Program on kept features, of a run that `is_solved`.
        state: TrainState at any step.
        checkpoints: training.checkpoint.Checkpoints.
        writer: training.metrics.MetricWriter.
        facts: JSON dict that goes into the checkpoint's seal.
        report: called with lines for the console and the log.

    Returns:
        The state with the head whose validation loss is lowest.

    Raises:
        DivergedError: features or losses that are not finite.
    """
    run, validate = program.run, Validator(program.run)
    last, penalties = run.durations["steps"], sorted(set(methods.of(run.config).penalties), reverse=True)
    report(
        f"The head is solved, not trained in steps: options of optimizer are not read, train.steps={last} only numbers "
        "the checkpoint"
    )
    head = dict(
        num_labels=1 if run.config.task.kind == "regression" else run.model_config.num_labels,
        has_bias=_head(program)[1] in program.split.trainable_shapes(),
    )
    best, began = None, time.perf_counter()
    for penalty, kernel, bias, iterations in solutions(*_examples(program, state), penalties, **head):
        found = _with_head(program, state, kernel, bias)
        values = validate(program, found)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        most = ", the most that it may have" if iterations >= MOST_ITERATIONS else ""
        report(f"penalty {penalty:g}  {iterations} iterations{most}  validation  {shown}")
        if math.isfinite(values["loss"]) and (best is None or values["loss"] < best[2]["loss"]):
            best = found, {"penalty": penalty, "iterations": iterations}, values
    if best is None:
        raise DivergedError(
            "no penalty gives a finite validation loss: the states of the frozen body are too large; choose another "
            "init.checkpoint, or set finetune.feature_norm=standard"
        )
    state, told, values = best
    seconds = time.perf_counter() - began
    report(f"The best penalty is {told['penalty']:g}{_edge(told['penalty'], penalties)}; {seconds:.1f} s for all")
    writer.write(last, "train", {**told, "seconds": seconds})
    writer.write(last, "validation", values)
    facts = {**facts, "stage": program.stage, "plateau": None}
    checkpoints.save(last, program.saved_parameters(state), None, facts)
    checkpoints.wait()
    return state


def _edge(penalty, penalties):
    """What to try where the best of several penalties is the first or the last."""
    if len(penalties) == 1 or penalty not in (penalties[0], penalties[-1]):
        return ""
    beyond = "larger" if penalty == penalties[0] else "smaller"
    return f", at the edge of finetune.penalties: a {beyond} one may be better"


def _examples(program, state):
    """(features f32 [n, D] as the head reads them, labels [n], weights f32 [n]) of what has a label in training."""
    source, config = program.run.data["train"].reader.sources[0], program.model.config
    rows = source.rows(np.arange(source.num_rows), np.zeros(source.num_rows))
    weights = rows["label_weights"].reshape(-1)
    labelled = weights > 0
    x = rows.pop("features").reshape(len(weights), -1)[labelled]
    if program.run.config.task.kind != "tag" and has_transform(config):
        x = FeatureTransform(config).apply({"params": jax.device_get(state.frozen["feature_transform"])}, x)
    x = np.require(x, np.float32, "W")
    if not np.isfinite(x).all():
        raise DivergedError(
            "states of the frozen body are not finite: choose another init.checkpoint, or set model.dtype=float32"
        )
    return x, rows["labels"].reshape(-1)[labelled], weights[labelled]


def solutions(x, labels, weights, penalties, *, num_labels, has_bias):
    """The best linear heads: minima of the mean loss + penalty / 2 |kernel|^2.

    While they are penalised, features have deviation 1 (and mean 0 under a bias); the kernel takes that back.

    Args:
        x: f32 [n, D], features; they are overwritten.
        labels: int [n] of classes, or numbers if num_labels is 1.
        weights: f32 [n], what each counts.
        penalties: from the largest to the smallest; each search begins at the solution before.
        num_labels: classes, of which a label without an example is never chosen; 1: squares of errors are the loss.
        has_bias: whether the head has one, which is not penalised.

    Yields:
        (penalty, kernel f64 [D, num_labels], bias f64 [num_labels] or None, iterations).
    """
    from sklearn.preprocessing import StandardScaler  # only where it is used: it takes a second

    scaler = StandardScaler(with_mean=has_bias, copy=False)
    x = scaler.fit_transform(x)
    if num_labels == 1:
        found = _ridge(x, labels, weights, penalties, has_bias)
    else:
        found = _logistic(x, labels, weights, penalties, has_bias, num_labels)
    for penalty, kernel, bias, iterations in found:
        kernel = kernel / scaler.scale_[:, None]
        yield penalty, kernel, bias - scaler.mean_ @ kernel if has_bias else None, iterations


def _ridge(x, labels, weights, penalties, has_bias):
    """As `solutions`, in closed form."""
    from sklearn.linear_model import Ridge

    for penalty in penalties:
        model = Ridge(alpha=penalty / 2 * float(weights.sum()), fit_intercept=has_bias)
        model.fit(x, labels, sample_weight=weights)
        yield penalty, model.coef_.reshape(-1, 1).astype(np.float64), np.atleast_1d(model.intercept_), 1


def _logistic(x, labels, weights, penalties, has_bias, num_labels):
    """As `solutions`. Where there are two labels the difference of their vectors is what is penalised."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    there = np.unique(labels)
    model = LogisticRegression(tol=TOLERANCE, max_iter=MOST_ITERATIONS, warm_start=True, fit_intercept=has_bias)
    for penalty in penalties:
        kernel, bias = np.zeros((x.shape[1], num_labels)), np.full(num_labels, ABSENT)
        bias[there], iterations = 0.0, 0
        if len(there) > 1:
            model.set_params(C=1 / (penalty * float(weights.sum())))
            # Threads of BLAS wait busily for each other, and on cores that others use as well they cost more than they
            # save: 250 ms an iteration where one thread takes 15.
            with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
                warnings.simplefilter("ignore", ConvergenceWarning)  # the iterations are told
                model.fit(x, labels, sample_weight=weights)
            scores, intercepts = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
            if len(there) == 2:
                scores, intercepts = (np.concatenate([-a / 2, a / 2]) for a in (scores, intercepts))
            kernel[:, there], bias[there] = scores.T, intercepts
            bias[there] -= bias[there].min()
            iterations = int(model.n_iter_.max())
        yield penalty, kernel, bias, iterations


def _with_head(program, state, kernel, bias):
    """The state with another head."""
    flat = names.flatten(state.trainable)
    for name, array in zip(_head(program), (kernel, bias), strict=True):
        if array is not None:
            flat[name] = jax.device_put(np.asarray(array, np.float32), flat[name].sharding)
    return state.replace(trainable=names.unflatten(flat))
