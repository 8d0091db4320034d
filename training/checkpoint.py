"""Checkpoints: Orbax writes and reads arrays, a seal of our own tells whether a checkpoint is whole.

Orbax commits a step atomically but does not catch all damage done later. So after a step is committed, its files
are hashed into `seal.json` beside them, and a step counts only while its seal holds.
"""

import hashlib
import json
import os
import pathlib
import shutil
import threading

import jax
from orbax.checkpoint import v1 as ocp

from cloze import storage
from cloze.errors import CheckpointError, ConfigError

SEAL = "seal.json"


class Checkpoints:
    """The checkpoints of one run, in `<directory>/<step>/`.

    Each holds the full parameters (both halves merged) or those alone that train, the optimizer's state unless it comes
    from elsewhere than training, the average of what trains where one is kept, and in its seal the step, the
    configuration and the tokenizer's hash.

    Args:
        directory: where they are.
        keep: how many of the newest stay; None for a reader, which deletes nothing (the run may be going on).
    """

    def __init__(self, directory, keep=None):
        self.directory = pathlib.Path(directory).absolute()
        self._writer = jax.process_index() == 0
        self._keep = keep
        self._thread = None
        self._failure = None
        self._checkpointer = None

    def _open(self):
        if self._checkpointer is None:
            policies = ocp.training.preservation_policies
            self._checkpointer = ocp.training.Checkpointer(
                self.directory,
                preservation_policy=policies.LatestN(self._keep) if self._keep else policies.PreserveAll(),
                cleanup_tmp_directories=self._keep is not None,
            )
        return self._checkpointer

    def steps(self):
        """Steps of all checkpoints on disk, whole or not, oldest first."""
        if not self.directory.is_dir():
            return []
        return sorted(int(p.name) for p in self.directory.iterdir() if p.is_dir() and p.name.isdigit())

    def save(self, step, params, optimizer_state, meta, ema=None):
        """Starts saving; returns as soon as the arrays are copied. A step that exists is left alone.

        Args:
            step: updates made so far.
            params: full parameter tree of jax arrays.
            optimizer_state: the optimizer's state; None for parameters that no optimizer has touched.
            meta: JSON dict for the seal: config and tokenizer hash.
            ema: the average of the parameters that train; None: none is kept.

        Raises:
            ConfigError: this or the previous save failed.
        """
        self.wait()
        if step in self.steps():
            return
        parts = {"params": params, "optimizer": optimizer_state, "ema": ema}
        parts = {name: part for name, part in parts.items() if part is not None}
        try:
            response = self._open().save_checkpointables_async(step, parts, force=True)
        except OSError as error:
            raise self._not_written(step, error) from error

        def finish():
            try:
                response.result()
                if self._writer:
                    self._seal(step, {"optimizer": "optimizer" in parts, "ema": "ema" in parts, **meta})
            except Exception as error:  # carried to the main thread by wait()
                self._failure = (step, error)

        self._thread = threading.Thread(target=finish, name=f"save-{step}")
        self._thread.start()

    def wait(self):
        """Waits for a save under way; raises ConfigError if it failed."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            (step, error), self._failure = self._failure, None
            raise self._not_written(step, error) from error

    def _not_written(self, step, error):
        return ConfigError(
            f"the checkpoint of step {step} could not be written to {self.directory}: {error}. Free some space or make "
            "the directory writable, then run the same command again; earlier checkpoints are untouched"
        )

    def close(self):
        self.wait()
        if self._checkpointer is not None:
            self._checkpointer.close()
            self._checkpointer = None

    def _files(self, step):
        root = self.directory / str(step)
        return root, sorted(p for p in root.rglob("*") if p.is_file() and p.name != SEAL)

    def _seal(self, step, meta):
        root, files = self._files(step)
        hashes = {str(p.relative_to(root)): _hash(p) for p in files}
        with storage.whole(root / SEAL) as partial:
            partial.write_text(json.dumps({"step": step, "hashes": hashes, **meta}, indent=1))

    def read_seal(self, step):
        """The seal of a step: hashes and meta."""
        return storage.read_json(self.directory / str(step) / SEAL)

    def has(self, part, step):
        """Whether a step holds the "optimizer" state, or an "ema", beside the parameters."""
        return self.read_seal(step).get(part, part == "optimizer")

    def problem(self, step):
        """What is wrong with a checkpoint, or None if its files are those that were sealed."""
        try:
            hashes = dict(self.read_seal(step)["hashes"])
        except (OSError, ValueError, KeyError, TypeError):
            return "it has no valid seal (saving was interrupted)"
        root, files = self._files(step)
        found = {str(p.relative_to(root)) for p in files}
        if missing := sorted(set(hashes) - found):
            return f"the file {missing[0]} is missing"
        try:
            damaged = [name for name, value in sorted(hashes.items()) if _hash(root / name) != value]
        except OSError as error:
            return f"the file {error.filename} cannot be read ({error.strerror})"
        return f"the file {damaged[0]} is damaged" if damaged else None

    def latest_whole(self, report=print):
        """The newest step whose seal holds; None if there is no checkpoint at all.

        Raises:
            CheckpointError: there are checkpoints, and none is whole.
        """
        problems = []
        for step in reversed(self.steps()):
            problem = self.problem(step)
            if problem is None:
                return step
            problems.append(f"step {step}: {problem}")
            report(f"Skipping the checkpoint of step {step}: {problem}.")
        sealed = [step for step in self.steps() if (self.directory / str(step) / SEAL).exists()]
        if not sealed and 0 not in self.steps():
            return None  # nothing was ever completely saved; step 0 is there only if it was converted, and is needed
        raise CheckpointError(
            f"no checkpoint in {self.directory} is whole ({'; '.join(problems)}). Restore the directory from a backup, "
            "or delete it to start again"
        )

    def set_aside_after(self, step):
        """Moves the checkpoints after `step`, which are damaged, out of the way: their steps come again.

        They stay beside the directory as `<directory>.damaged-<step>`. For the first process only.
        """
        for later in self.steps():
            if later > step:
                aside = self.directory.with_name(f"{self.directory.name}.damaged-{later}")
                if aside.exists():
                    shutil.rmtree(aside)
                os.replace(self.directory / str(later), aside)

    def restore(self, step, **abstract):
        """Reads parts of a checkpoint.

        Args:
            step: which.
            **abstract: params=..., optimizer=... and ema=..., trees of jax.ShapeDtypeStruct with shardings.

        Returns:
            {part: tree of arrays}.

        Raises:
            ConfigError: the checkpoint's arrays have other names or shapes than those asked for.
        """
        metadata = self._open().checkpointables_metadata(step).metadata
        for part, tree in abstract.items():
            wanted = {_path(path): tuple(leaf.shape) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
            stored = {
                _path(path): tuple(leaf.shape)
                for path, leaf in jax.tree_util.tree_leaves_with_path(
                    metadata[part], is_leaf=lambda leaf: hasattr(leaf, "shape")
                )
                if hasattr(leaf, "shape")
            }
            if wanted != stored:
                what = "optimizer" if part == "optimizer" else "model"
                raise ConfigError(f"the checkpoint {self.directory / str(step)} {_difference(wanted, stored, what)}")
        return self._open().load_checkpointables(step, abstract)

    def saved(self, step, part="params"):
        """A part of a checkpoint, whatever it holds: a tree of arrays on the first device."""
        on_one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        metadata = self._open().checkpointables_metadata(step).metadata[part]
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=on_one),
            metadata,
            is_leaf=lambda leaf: hasattr(leaf, "shape"),
        )
        return self._open().load_checkpointables(step, {part: abstract})[part]


def _path(path):
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)


def _difference(wanted, stored, what):
    """A sentence on how two {name: shape} differ."""
    if missing := sorted(set(wanted) - set(stored)):
        return f"lacks {len(missing)} array(s) of this {what}, such as {missing[0]}: it belongs to another {what}"
    if extra := sorted(set(stored) - set(wanted)):
        return f"has {len(extra)} array(s) that this {what} lacks, such as {extra[0]}: it belongs to another {what}"
    name = next(name for name in sorted(wanted) if wanted[name] != stored[name])
    return f"holds {name} with shape {stored[name]}, this {what} has {wanted[name]}: it is of another size"


def _hash(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
