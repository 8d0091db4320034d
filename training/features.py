"""What a frozen body gives for each example, computed once and kept: an epoch of a linear probe takes seconds."""

import dataclasses
import hashlib
import os
import pathlib

import jax
import numpy as np

from cloze.data import artifacts
from cloze.data.batches import Batches
from cloze.errors import ConfigError
from cloze.models import names
from cloze.models.features import has_transform
from cloze.models.heads import head_modules
from cloze.training import methods

FORMAT = 1  # counted up when the same parameters and data come to give other features
LARGEST = 16 * 2**30  # bytes of features that are kept
# Of a model's configuration, what its frozen body computes does not depend on.
AS_FAST = (
    "scan", "remat", "attention_backend", "dropout", "attention_dropout", "activation_dropout", "final_dropout",
    "head_dropout", "pooler_dropout", "heads_out", "num_labels", "feature_norm", "feature_size",
)  # fmt: skip
# Of a batch where they are, beside its features; segments only of kind span, whose places are chosen among the text's.
KEPT = ("labels", "label_weights", "choice_weights", "segments")


def compute(features_of_batch, batches, count, directory, report):
    """The features of all examples of a split, computed by the first who asks for them.

    One process computes and others on the same machine wait for its files, so `features_of_batch` must not need them.

    Args:
        features_of_batch: function (usually jitted): a batch -> array [B, ...], or [R, E, ...] of packed rows.
        batches: iterable of host batches with `row_id`, `labels` and `label_weights`; each example is in one of them at
            least. It is not read where the features are there.
        count: examples in the split; `row_id` lies in [0, count), and is -1 for what fills a batch up.
        directory: path; its name must stand for the parameters and the data that decide the features.
        report: called with progress messages.

    Returns:
        FrozenFeatures.

    Raises:
        ConfigError: the features of two batches differ in shape.
        DataError: a file is missing or has changed.
    """
    directory = pathlib.Path(directory)

    def make():
        report(f"computing the features of {count} examples")
        scratch = directory.with_name(f"{directory.name}.features.npy")
        return _collect(features_of_batch, batches, count, scratch), {}

    arrays, _ = artifacts.prepare(directory, make, report)
    return FrozenFeatures(arrays)


class FrozenFeatures:
    """A row source over frozen features, for `data.batches`.

    `rows(indices [n], epochs [n])` gives `features` f32 [n, ...], `labels` and `label_weights` as the examples had
    them, and int32 `row_id` and `epoch` [n].

    Attributes:
        num_rows: examples.
        features: f32 [num_rows, ...], mapped from its file.
        choice_weights: f32 [num_rows, C], 0 for choices that an example has not; None where there are none.
    """

    def __init__(self, arrays):
        self._arrays = arrays
        self.features, self.choice_weights = arrays["features"], arrays.get("choice_weights")
        self.num_rows = len(self.features)

    def rows(self, indices, epochs):
        rows = {name: array[indices] for name, array in self._arrays.items()}
        return rows | {"row_id": np.asarray(indices, np.int32), "epoch": np.asarray(epochs, np.int32)}


def _collect(features_of_batch, batches, count, scratch):
    """{"features", and what is in KEPT}, each [count, ...]; the features are mapped from a file, not in memory."""
    arrays, seen = {}, np.zeros(count, bool)
    for batch in batches:
        row_id = np.asarray(batch["row_id"])
        found = {"features": np.asarray(features_of_batch(batch), np.float32)}
        found |= {name: np.asarray(batch[name]) for name in KEPT if name in batch}
        present, shapes = row_id >= 0, {name: value.shape[row_id.ndim :] for name, value in found.items()}
        if not arrays:
            arrays = {name: np.zeros((count, *shapes[name]), found[name].dtype) for name in found if name != "features"}
            arrays["features"] = _mapped(scratch, (count, *shapes["features"]))
        for name, value in found.items():
            if shapes[name] != arrays[name].shape[1:]:
                raise ConfigError(
                    f"the {name} of examples have shapes {arrays[name].shape[1:]} and {shapes[name]}, which cannot be "
                    "kept in one array: set task.batching=pad, or finetune.cache_features=false"
                )
            arrays[name][row_id[present]] = value[present]
        seen[row_id[present]] = True
    if not seen.all():
        raise ValueError(f"{np.sum(~seen)} of {count} examples are in no batch, the first is {np.argmin(seen)}")
    return arrays


def _mapped(path, shape):
    """Zeros f32 in a file without a name, which is gone as soon as the array is, however the process ends."""
    path.unlink(missing_ok=True)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    with path.open("r+b") as file:  # without room for all of it the process would end when it is filled
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    path.unlink()
    return array


def fit(features, norm, size):
    """The parameters of `models.features.FeatureTransform` for the features of the training examples.

    Args:
        features: f32 [n, D].
        norm: "none"; "standard", mean 0 and deviation 1 over the examples (a feature that never changes is only
            centred); "unit", each example to length 1.
        size: principal components that are kept, of the features after `norm`; 0: no projection.

    Returns:
        {"mean" f32 [D], "scale" f32 [D], "components" f32 [D, size]}, the last only with `size`.

    Raises:
        ConfigError: there are not so many components.
    """
    from sklearn.decomposition import PCA  # only where it is used: it takes a second
    from sklearn.preprocessing import Normalizer, StandardScaler

    features = np.asarray(features, np.float32)
    count, width = features.shape
    if size > min(count, width):
        raise ConfigError(
            f"finetune.feature_size={size} exceeds what {count} examples of {width} features have: lower it"
        )
    if norm == "unit":
        features = Normalizer().fit_transform(features)
    scaler = StandardScaler(with_std=norm == "standard").fit(features)
    # Lengths alone are changed where there is neither a standardisation nor a projection.
    mean = scaler.mean_ if norm == "standard" or size else np.zeros(width)
    scale = np.ones(width) if scaler.scale_ is None else 1 / scaler.scale_
    fitted = {"mean": mean, "scale": scale}
    if size:
        # Centred first: on its way over the covariance, in f32, PCA would lose what is small against the mean.
        fitted["components"] = PCA(size, random_state=0).fit(scaler.transform(features)).components_.T
    return {name: np.ascontiguousarray(array, np.float32) for name, array in fitted.items()}


def with_features(program, state, fresh, report):
    """The program on kept features where nothing below the heads trains, and the state with what is fitted on them.

    Args:
        program: training.program.Program.
        state: TrainState.
        fresh: whether `state` is at its first step: finetune.feature_norm and feature_size are fitted then.
        report: called with progress messages.

    Returns:
        (the program, of a run on other data, the state): the same where features are not kept.

    Raises:
        ConfigError: features are to be fitted but not kept.
    """
    run = program.run
    method = methods.of(run.config)
    if len(run.stages) > 1:
        return program, state
    reason = hindrance(program)
    if reason and (method.feature_norm == "standard" or method.feature_size):
        raise ConfigError(f"finetune.feature_norm and feature_size are fitted on kept features, but {reason}")
    if reason and "cache_features" in run.config.finetune:
        report(f"Features are not kept: {reason}")
    if reason:
        return program, state
    kept = {split: _keep(program, state, data, report) for split, data in run.data.items()}
    if fresh and has_transform(program.model.config):
        state = _fitted(run, state, kept["train"][1])
    data = {split: batches for split, (batches, _) in kept.items()}
    return dataclasses.replace(run, data=data).program(program.stage), state


def hindrance(program):
    """Why features cannot be kept, or None."""
    run, config = program.run, program.run.config
    below = [
        name
        for name, depth in methods.depths(run.shapes).items()
        if np.any(program.split.mask[name] & (np.atleast_1d(depth) > 0))
    ]
    if not methods.of(config).cache_features:
        return "finetune.cache_features=False"
    if below:
        return f"{below[0]} trains (finetune.also)"
    if config.objective.name != "supervised" or config.objective.lm_weight:
        return "the vocabulary head needs every token's state"
    batching = run.objective.rows.batching
    if config.task.kind in ("tag", "span") and batching != "pad":
        return f"the states of tokens have one length with task.batching=pad only, not {batching}"
    if batching == "pack":
        return "packed rows hold several examples; set task.batching=buckets"
    total = sum(size(data, program) for data in run.data.values())
    if total > LARGEST:
        return f"they would take {total / 2**30:.0f} GiB in data.cache_dir, more than {LARGEST / 2**30:.0f}"
    return "this run has several processes" if jax.process_count() > 1 else None


def size(data, program):
    """Bytes of the features of a split (data.pipeline.Data)."""
    config = program.run.config
    states = config.data.sequence_length if config.task.kind in ("tag", "span") else 1
    return 4 * len(data.features.used) * data.features.texts * states * program.model.config.width


def _keep(program, state, data, report):
    """(data.pipeline.Data over kept features, the FrozenFeatures of the examples that are used) of a split."""
    run, config = program.run, program.run.config
    full = program.full_parameters(state)
    directory = pathlib.Path(config.data.cache_dir).expanduser() / "features"
    directory /= _name(full, program.model.config, data)

    @jax.jit
    def states(params, rows):
        return program.model.apply({"params": params}, rows, deterministic=True).features

    once = dataclasses.replace(data, reader=data.reader.once(config.train.batch_size))
    used = data.features.used
    numbers = np.full(len(data.features.arrays["example"]), -1)  # of each feature among those that are used
    numbers[used] = np.arange(len(used))

    def batches():
        for step in range(int(once.steps_per_epoch)):
            rows = once.batches(step)
            if config.task.kind != "span":
                del rows["segments"]
            yield rows | {"row_id": np.where(rows["row_id"] >= 0, numbers[rows["row_id"]], -1), "step": step}

    def features_of_batch(batch):
        with run.context():
            return states(full, run.rows(once, batch["step"]))

    source = compute(features_of_batch, batches(), len(used), directory, report)
    return dataclasses.replace(data, reader=Batches([source], data.reader.order)), source


def _name(params, model_config, data):
    """A name that stands for the parameters, what they compute and the data."""
    computed = {key: value for key, value in dataclasses.asdict(model_config).items() if key not in AS_FAST}
    found = hashlib.sha256(repr([FORMAT, data.fingerprint, sorted(computed.items())]).encode())
    for name, leaf in names.flatten(params).items():
        if name.split("/")[0] not in (*head_modules(), "feature_transform"):
            found.update(name.encode())
            found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()[:32]


def _fitted(run, state, source):
    """The state with the transform of features that is fitted on those of the training examples."""
    method, width = methods.of(run.config), source.features.shape[-1]
    weights = source.choice_weights
    wide = np.asarray(source.features if weights is None else source.features[weights > 0]).reshape(-1, width)
    flat = names.flatten(state.frozen)
    for name, array in fit(wide, method.feature_norm, method.feature_size).items():
        name = f"feature_transform/{name}"
        flat[name] = jax.device_put(array, flat[name].sharding)
    return state.replace(frozen=names.unflatten(flat))
