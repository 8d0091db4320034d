"""A run's directory: what it holds, who may use it, and whether it belongs to the configuration."""

import contextlib
import json
import pathlib
import shutil

from cloze import storage
from cloze.configs import base
from cloze.errors import ConfigError
from cloze.training.checkpoint import SEAL, Checkpoints

# What may change between two starts of the same run: its length, how it reports, and where it runs.
MAY_CHANGE = (
    "train.steps", "train.log_every", "train.eval_every", "train.eval_batches", "train.compile_cache",
    "optimizer.decay_steps", "optimizer.decay_share", "optimizer.decay_shape", "checkpoint.", "mesh.", "devices",
    "data.prefetch", "data.cache_dir", "data.tfds_dir",
)  # fmt: skip
HOW_IT_RUNS = ("model.dtype", "model.scan", "model.remat", "model.attention_backend")
# What may be edited in config.json by hand, besides: where things are now.
PLACES = ("init.", "data.source", "data.validation_source", "tokenizer.path", "task.files")
FREE = (*MAY_CHANGE, *HOW_IT_RUNS, *PLACES)


class Workdir:
    """A run's directory. The first process opens it for writing, which takes its lock until closed.

    Args:
        path: the directory.
        config: JSON dict of the resolved configuration.
    """

    def __init__(self, path, config):
        self.path = pathlib.Path(path)
        self._config = config
        self._lock = contextlib.ExitStack()
        self._locked = False

    def open(self):
        """Makes and locks the directory.

        Raises:
            ConfigError: it is no directory, is in use, or belongs to another configuration.
            WriteError: it cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.enter_context(storage.lock(self.path / "lock", self._refuse))
        except OSError as error:
            refused = storage.write_error(error)
            raise refused or ConfigError(f"cannot write to --workdir={self.path}: {error.strerror}") from None
        self._locked = True
        self._check(self._config)

    def _refuse(self):
        raise ConfigError(
            f"--workdir={self.path} is in use by another process: wait for it, stop it, or choose another --workdir"
        )

    def keep_config(self):
        """Writes config.json: from now on the directory belongs to this configuration."""
        if not self._locked:
            return
        with storage.whole(self.path / "config.json") as partial:
            partial.write_text(json.dumps(self._config, indent=1, sort_keys=True) + "\n")

    @property
    def tokenizer(self):
        return self.path / "tokenizer"

    @property
    def checkpoints(self):
        return self.path / "checkpoints"

    @property
    def has_learned(self):
        """Whether a checkpoint was saved; before that, another configuration may take the directory over."""
        return bool(Checkpoints(self.checkpoints).steps())

    def keep_tokenizer(self, tokenizer):
        """Saves the run's tokenizer; what an earlier start left is replaced until something was learned with it."""
        if not self._locked or (self.has_learned and self.tokenizer.exists()):
            return
        if self.tokenizer.exists():
            shutil.rmtree(self.tokenizer)
        tokenizer.save(self.tokenizer)

    @property
    def has_trained(self):
        """Whether a checkpoint after step 0 was saved; before that, converted parameters may be trained in any way."""
        return any(Checkpoints(self.checkpoints).steps())

    def _check(self, config):
        file = self.path / "config.json"
        if not self.has_learned:
            return
        old, _ = sealed_config(self.checkpoints)
        if old is None and not file.exists():
            return
        try:
            old = read_config(file)
        except ConfigError:  # it is written anew, if this is the run's configuration
            if old is None:
                raise
        if changed := _changed(old, config, self.has_trained, MAY_CHANGE):
            raise ConfigError(
                f"--workdir={self.path} holds a run of another configuration ({changed}): choose another --workdir, or "
                "undo the change"
            )

    def close(self):
        self._lock.close()
        self._locked = False


def read_config(file):
    """The configuration in a run's config.json, which the seal of the newest checkpoint must agree with.

    Raises:
        ConfigError: it is damaged, or has changed since.
    """
    config = base.load(file)
    sealed, step = sealed_config(file.parent / "checkpoints")
    if sealed is not None and (changed := _changed(sealed, base.to_dict(config), step, FREE)):
        raise ConfigError(
            f"{file} is not the configuration of the checkpoint of step {step} ({changed}): undo the change; or "
            f"{base.REMEDY}"
        )
    return config


def sealed_config(checkpoints):
    """(configuration in the newest seal of a folder of checkpoints, its step); (None, None): there is none."""
    checkpoints = Checkpoints(checkpoints)
    for step in reversed(checkpoints.steps()):
        with contextlib.suppress(OSError, ValueError, KeyError):
            values = checkpoints.read_seal(step)["config"]
            return base.from_dict(values, checkpoints.directory / str(step) / SEAL), step
    return None, None


def _changed(old, new, trained, free):
    """Which options differ that may not, in words; before training, only what parameters compute may not."""
    changed = [
        f"{key}: {before!r} there, {after!r} now"
        for key, before, after in differences(base.to_dict(old), new)
        if not key.startswith(free) and (trained or _is_computed(key))
    ]
    return "; ".join(changed[:5]) + (" and more" if len(changed) > 5 else "")


def _is_computed(key):
    """Whether an option decides what converted parameters compute; all else is free until they are trained."""
    return key.startswith("model.") and key not in HOW_IT_RUNS and "dropout" not in key


def differences(old, new, prefix=""):
    """[(dotted key, old value, new value)] where two nested dicts differ."""
    found = []
    for key in sorted(set(old) | set(new)):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append((prefix + key, a, b))
    return found
