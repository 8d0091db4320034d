"""Checkpoints: Orbax writes and reads arrays, a seal of our own tells whether a checkpoint is whole.

Orbax does not catch all damage done after a save. So its files are hashed into `seal.json` beside them, and a step
counts only while its seal holds. A step is written as `<step>.partial` and takes its name when it is sealed; only then
are older ones deleted. So a killed run leaves whole steps, and a step that is not whole was damaged.
"""

import contextlib
import hashlib
import os
import pathlib
import shutil
import threading

import jax
from orbax.checkpoint import v1 as ocp

from cloze import storage
from cloze.errors import CheckpointError, ConfigError, WriteError
from cloze.parallel.processes import decide, lost
from cloze.training.fingerprint import by_path, fingerprints, path_of
from cloze.training.retention import Saved

SEAL = "seal.json"
DAMAGED = "damaged"  # the folder of steps that were found damaged
REWOUND = "rewound"  # and of those after a step that the run has gone back to
KEEP_ASIDE = 2
PARTIAL = ".partial"  # ends the name of a step that is being written or deleted
ORBAX_PARTIAL = ".orbax-checkpoint-tmp"  # Orbax's own, while it writes


class Checkpoints:
    """The checkpoints of one run, in `<directory>/<step>/`.

    Each holds the full parameters (both halves merged) or those alone that train, the optimizer's state unless it comes
    from elsewhere than training, the average of what trains where one is kept, and in its seal the step, the
    configuration and the tokenizer's hash.

    Args:
        directory: where they are.
        retention: training.retention.Retention, which of them stay; None: all, and for a reader (the run may be going
            on).
    """

    def __init__(self, directory, retention=None):
        self.directory = pathlib.Path(directory).absolute()
        self._retention = retention
        self._thread = None
        self._failure = None

    @property
    def _writer(self):
        """Whether this process writes; asked only when the processes have met, because JAX opens its devices for it."""
        return jax.process_index() == 0

    def steps(self):
        """Steps of all checkpoints on disk, whole or not, oldest first."""
        if not self.directory.is_dir():
            return []
        return sorted(int(p.name) for p in self.directory.iterdir() if p.is_dir() and p.name.isdigit())

    def save(self, step, params, optimizer_state, meta, ema=None):
        """Starts saving; returns as soon as the arrays are copied. A step that exists is left alone.

        A save under way is waited for first, so that there is at most one copy of the state in the host's memory.

        Args:
            step: updates made so far.
            params: full parameter tree of jax arrays.
            optimizer_state: the optimizer's state; None for parameters that no optimizer has touched.
            meta: JSON dict for the seal: config and tokenizer hash; "metrics", what training.retention goes by.
            ema: the average of the parameters that train; None: none is kept.

        Raises:
            WriteError: this or the previous save failed.
        """
        self.wait()
        if step in self.steps():
            return
        parts = {"params": params, "optimizer": optimizer_state, "ema": ema}
        parts = {name: part for name, part in parts.items() if part is not None}
        numbers = {name: fingerprints(jax.tree.leaves(part)) for name, part in parts.items()}
        try:
            response = ocp.save_checkpointables_async(self._partial(step), parts, overwrite=True)
        except Exception as error:
            raise self._not_written(step, error) from error

        shapes = jax.eval_shape(lambda: parts) if self._writer else {}  # the thread shall not hold the arrays

        def finish():
            try:
                response.result()
                if self._writer:
                    told = {"step": step, "optimizer": "optimizer" in parts, "ema": "ema" in parts, **meta}
                    told["values"] = {name: by_path(part, numbers[name]) for name, part in shapes.items()}
                    seal(self._partial(step), told)
                    os.replace(self._partial(step), self.directory / str(step))
                    self._delete_old()
            except Exception as error:  # carried to the main thread by wait()
                self._failure = (step, error)

        self._thread = threading.Thread(target=finish, name=f"save-{step}")
        self._thread.start()

    def check(self):
        """Raises WriteError if a save has failed; does not wait for one."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self):
        """Waits for a save under way; raises WriteError if it failed."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            (step, error), self._failure = self._failure, None
            raise self._not_written(step, error) from error

    def _not_written(self, step, error):
        if (message := lost(error)) is not None:
            return message
        number = storage.refusal(error)
        if number is None and not isinstance(error, (OSError, RuntimeError, ValueError)):
            return error  # of ours, and not of what writes
        reason = os.strerror(number) if number is not None else (str(error).splitlines() or [repr(error)])[0]
        return WriteError(
            f"the checkpoint of step {step} could not be written to {self.directory}: {reason}. Free some space or "
            "make the directory writable, then run the same command again; earlier checkpoints are untouched"
        )

    def close(self):
        """Waits as `wait` does."""
        self.wait()

    def _partial(self, step):
        return self.directory / f"{step}{PARTIAL}"

    def _delete_old(self):
        if self._retention is None:
            return
        saved = self.saved_steps(metrics=self._retention.best is not None)
        for step in {one.step for one in saved} - self._retention.kept(saved):
            os.replace(self.directory / str(step), self._partial(step))
            shutil.rmtree(self._partial(step))

    def saved_steps(self, metrics=True):
        """The training.retention.Saved of each step, oldest first; `metrics`: with what they say of validation."""
        found = []
        for step in self.steps():
            told = {}
            if metrics:
                with contextlib.suppress(OSError, ValueError, AttributeError):  # a damaged seal says nothing
                    told = dict(self.read_seal(step).get("metrics", {}))
            found.append(Saved(step, told))
        return found

    def clear_partial(self):
        """Removes what a killed run has left half written or deleted. For the process that has the lock."""
        if self.directory.is_dir():
            for path in self.directory.iterdir():
                if path.name.endswith(PARTIAL) or ORBAX_PARTIAL in path.name:
                    storage.remove(path)

    def read_seal(self, step):
        """The seal of a step: hashes and meta.

        Raises:
            OSError, ValueError: there is none, or it is damaged.
        """
        return storage.read_checked(self.directory / str(step) / SEAL)

    def has(self, part, step):
        """Whether a step holds the "optimizer" state, or an "ema", beside the parameters."""
        return self.read_seal(step).get(part, part == "optimizer")

    def problem(self, step):
        """What is wrong with a checkpoint, or None if its files are those that were sealed."""
        try:
            seal = self.read_seal(step)
            hashes = dict(seal["hashes"])
        except FileNotFoundError:
            return f"its {SEAL} is missing"
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"its {SEAL} is damaged ({error})"
        if seal.get("step", step) != step:
            return f"its {SEAL} is of step {seal['step']}"
        root = self.directory / str(step)
        found = {str(p.relative_to(root)) for p in _files(root)}
        if missing := sorted(set(hashes) - found):
            return f"the file {missing[0]} is missing"
        try:
            damaged = [name for name, value in sorted(hashes.items()) if _hash(root / name) != value]
        except OSError as error:
            return f"the file {error.filename} cannot be read ({error.strerror})"
        return f"the file {damaged[0]} is damaged" if damaged else None

    def check_whole(self, step):
        """Refuses a step that has no whole checkpoint.

        Args:
            step: a number, or what a user gave for one.

        Raises:
            ConfigError: says what is wrong with it, and which there are.
        """

        def check():
            is_there = str(step).isdecimal() and int(step) in self.steps()
            problem = self.problem(int(step)) if is_there else "there is none"
            if problem is not None:
                there = ", ".join(map(str, self.steps())) or "none"
                run = self.directory.parent
                raise ConfigError(f"{run} has no whole checkpoint of step {step} ({problem}); its checkpoints: {there}")

        decide(check)

    def latest_whole(self, report=print):
        """The newest step whose seal holds; None if no step was ever saved.

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
        if not problems:
            return None
        raise CheckpointError(
            f"no checkpoint in {self.directory} is whole ({'; '.join(problems)}). Restore the directory from a backup, "
            "or move it away to start again from the first step"
        )

    def set_aside_after(self, step, report=print, what=DAMAGED):
        """Moves the checkpoints after `step` out of the way: their steps come again.

        They go to `<directory>/<what>/<step>`, where the newest few stay. For the first process only.
        """
        aside = self.directory / what
        for later in self.steps():
            if later > step:
                aside.mkdir(exist_ok=True)
                storage.remove(aside / str(later))
                os.replace(self.directory / str(later), aside / str(later))
                os.utime(aside / str(later))  # the time it was found
                report(f"The {what} checkpoint of step {later} is now {aside / str(later)}")
        if aside.is_dir():
            for path in sorted(aside.iterdir(), key=lambda path: path.stat().st_mtime_ns)[:-KEEP_ASIDE]:
                storage.remove(path)

    def restore(self, step, **abstract):
        """Reads parts of a checkpoint.

        Args:
            step: which.
            **abstract: params=..., optimizer=... and ema=..., trees of jax.ShapeDtypeStruct with shardings.

        Returns:
            {part: tree of arrays}.

        Raises:
            ConfigError: the checkpoint's arrays have other names or shapes than those asked for.
            CheckpointError: the arrays have come to hold other values than were saved.
        """
        metadata = ocp.checkpointables_metadata(self.directory / str(step)).metadata
        for part, tree in abstract.items():
            wanted = {path_of(path): tuple(leaf.shape) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
            stored = {
                path_of(path): tuple(leaf.shape)
                for path, leaf in jax.tree_util.tree_leaves_with_path(
                    metadata[part], is_leaf=lambda leaf: hasattr(leaf, "shape")
                )
                if hasattr(leaf, "shape")
            }
            if wanted != stored:
                what = "optimizer" if part == "optimizer" else "model"
                raise ConfigError(f"the checkpoint {self.directory / str(step)} {_difference(wanted, stored, what)}")
        return self._load(step, abstract)

    def _load(self, step, abstract):
        """Parts of a checkpoint, whose values are those that its seal tells; it may tell none."""
        found = ocp.load_checkpointables(self.directory / str(step), abstract)
        told = self.read_seal(step).get("values", {})
        for part, tree in found.items():
            if part not in told:
                continue
            read = by_path(tree, fingerprints(jax.tree.leaves(tree)))
            if differing := [path for path, number in read.items() if told[part].get(path) != number]:
                raise CheckpointError(
                    f"{self.directory / str(step)} was read with other values than were saved, in {len(differing)} of "
                    f"{len(read)} arrays of {part}, such as {differing[0]}, although its files are whole. The memory "
                    "or the storage of a machine may be faulty: run again on another one, or move this folder away "
                    "and an older checkpoint is used"
                )
        return found

    def saved(self, step, part="params"):
        """A part of a checkpoint, whatever it holds: a tree of arrays on the first device."""
        on_one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        metadata = ocp.checkpointables_metadata(self.directory / str(step)).metadata[part]
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=on_one),
            metadata,
            is_leaf=lambda leaf: hasattr(leaf, "shape"),
        )
        return self._load(step, {part: abstract})[part]


def _difference(wanted, stored, what):
    """A sentence on how two {name: shape} differ."""
    if missing := sorted(set(wanted) - set(stored)):
        return f"lacks {len(missing)} array(s) of this {what}, such as {missing[0]}: it belongs to another {what}"
    if extra := sorted(set(stored) - set(wanted)):
        return f"has {len(extra)} array(s) that this {what} lacks, such as {extra[0]}: it belongs to another {what}"
    name = next(name for name in sorted(wanted) if wanted[name] != stored[name])
    return f"holds {name} with shape {stored[name]}, this {what} has {wanted[name]}: it is of another size"


def seal(root, meta):
    """Writes the seal of a checkpoint that lies in the folder `root`: `meta` and the hashes of all files."""
    files = _files(root)
    for file in files:
        storage.sync(file)  # older checkpoints go next: a power cut must not take this one
    hashes = {str(file.relative_to(root)): _hash(file) for file in files}
    storage.write_checked(root / SEAL, {**meta, "hashes": hashes})


def check_tokenizer(seal, tokenizer):
    """Refuses a tokenizer that is not the one that a checkpoint's parameters were trained with.

    Raises:
        ConfigError: it is another one.
    """
    theirs = seal.get("tokenizer")
    if theirs is not None and tokenizer is not None and theirs != tokenizer.hash:
        raise ConfigError(
            f"the checkpoint of step {seal['step']} had another tokenizer (hash {theirs[:12]}, this one "
            f"{tokenizer.hash[:12]}): restore the run's tokenizer/ directory, or choose another --workdir"
        )


def _files(root):
    """The files of a checkpoint that a seal covers."""
    return sorted(path for path in root.rglob("*") if path.is_file() and path.name != SEAL)


def _hash(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
