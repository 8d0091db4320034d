"""A run's directory: what it holds, who may use it, and whether it belongs to the configuration."""

import contextlib
import json
import pathlib
import shutil

from cloze import options, storage
from cloze.configs import base
from cloze.errors import ConfigError
from cloze.training.checkpoint import SEAL, Checkpoints
from cloze.training.history import FACTS

MOST_SHOWN = 5  # options in a message
ALLOWED = "allowed_changes.json"  # {"changes": {option: its value}} that --allow_changes has allowed


class Workdir:
    """A run's directory. The first process opens it for writing, which takes its lock until closed.

    Args:
        path: the directory.
        config: JSON dict of the resolved configuration.
        allow: options, or sections of them, that may have other values than the run has had.

    Attributes:
        changed: after `open`, a line for each option that has another value than at the last start.
    """

    def __init__(self, path, config, allow=()):
        self.path = pathlib.Path(path)
        self.changed = []
        self._config, self._allow = config, tuple(allow)
        self._allowed = {}
        self._lock = contextlib.ExitStack()
        self._locked = False

    def open(self):
        """Makes and locks the directory.

        Raises:
            ConfigError: it is no directory, is in use, or belongs to another configuration; or there is no such option
                as one that is allowed to change.
            WriteError: it cannot be written to.
        """
        _check_known(self._allow, self._config)
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
        if self._allowed:
            storage.write_checked(self.path / ALLOWED, {"changes": {**_allowed(self.path), **self._allowed}})
        with storage.whole(self.path / "config.json") as partial:
            partial.write_text(json.dumps(self._config, indent=1, sort_keys=True) + "\n")

    def keep_facts(self, facts):
        """Writes run.json, what is known of the run before its first step (training/history.py)."""
        if self._locked:
            with storage.whole(self.path / FACTS) as partial:
                partial.write_text(json.dumps(facts, indent=1) + "\n")

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
        differing = differences(base.to_dict(old), config)
        self.changed = [f"{key}: {before!r} at the last start, {now!r} now" for key, before, now in differing]
        free = _Free(old, self.has_trained, (options.FREELY,), _allowed(self.path))
        changed = [one for one in differing if not free(*one)]
        if refused := [one for one in changed if not _is_in(one[0], self._allow)]:
            keys = ",".join(key for key, _, _ in refused[:MOST_SHOWN])
            raise ConfigError(
                f"--workdir={self.path} holds a run of another configuration ({_in_words(refused)}): choose another "
                f"--workdir, undo the change, or say --allow_changes={keys} to go on from its checkpoint all the same"
            )
        self._allowed = {key: now for key, _, now in changed}

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
    if sealed is None:
        return config
    free = _Free(sealed, bool(step), (options.FREELY, options.BY_HAND), _allowed(file.parent))
    differing = differences(base.to_dict(sealed), base.to_dict(config))
    if changed := [one for one in differing if not free(*one)]:
        raise ConfigError(
            f"{file} is not the configuration of the checkpoint of step {step} ({_in_words(changed)}): undo the "
            f"change; or {base.REMEDY}"
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


class _Free:
    """Tells of an option that differs whether it may: (key, value before, value now) -> bool.

    Args:
        config: the configuration before.
        trained: whether it has been trained; until then, all but what parameters compute may differ.
        rules: of options.FREELY and BY_HAND, those that are free.
        allowed: {key: value now} that may be besides.
    """

    def __init__(self, config, trained, rules, allowed):
        self._known, self._trained, self._rules, self._allowed = base.rules_of_change(config), trained, rules, allowed

    def __call__(self, key, before, now):
        rule = self._known.get(key, options.NEVER)
        if rule in self._rules or (key in self._allowed and self._allowed[key] == now):
            return True
        return not self._trained and not (key.startswith("model.") and rule == options.NEVER and "dropout" not in key)


def _allowed(directory):
    """{option: value} that --allow_changes has allowed in a run's directory.

    Raises:
        ConfigError: the file that says so is damaged.
    """
    file = directory / ALLOWED
    if not file.exists():
        return {}
    try:
        return dict(storage.read_checked(file)["changes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{file} is damaged ({error}): remove it, and give train.py --allow_changes=... once more"
        ) from None


def _is_in(key, allow):
    """Whether an option is one of some, or of a section among them."""
    return key in allow or any(key.startswith(f"{section}.") for section in allow)


def _check_known(allow, config):
    """Refuses what is neither an option of a configuration nor a section."""
    if not allow:
        return
    known = base.rules_of_change(base.from_dict(config, "the configuration"))
    for key in allow:
        if not any(_is_in(option, [key]) for option in known):
            hint = options.suggest(key, known) or "; --describe lists all options"
            raise ConfigError(f"--allow_changes={key}: there is no such option or section{hint}")


def _in_words(changed):
    told = [f"{key}: {before!r} there, {now!r} now" for key, before, now in changed[:MOST_SHOWN]]
    return "; ".join(told) + (" and more" if len(changed) > MOST_SHOWN else "")


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
