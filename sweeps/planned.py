"""The runs of a sweep file, with names, each checked as train.py would check it."""

import collections
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import runpy
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from cloze import cli, options, storage
from cloze.errors import ConfigError, UserError
from cloze.sweeps.study import Study

CONFIG = "config"  # the key of a run that names its config file
FILE = "sweep.json"  # in the sweep's directory: its runs
BASES = "bases"  # beside the sweep's directory: runs that others begin with, which sweeps of one folder share
SEED = "seed"  # runs that differ in nothing but keys whose last word is this are repetitions
LONGEST = 120  # of a run's name; file systems take 255 bytes


@dataclasses.dataclass(frozen=True)
class Planned:
    """A run of a sweep.

    Attributes:
        name: of its folder.
        config: its config file, with arguments after a colon.
        overrides: {option: value} beside it; for a value that is a Planned stands the directory of that run.
        differing: of these and "config", the keys that differ between the runs of the sweep.
        words: in what it differs from the others but for seeds; of one that does not, its config.
        evaluate: flags of eval.py that judge the finished run; empty: it is not judged.
        is_base: others begin with it.
    """

    name: str
    config: str
    overrides: dict[str, Any]
    differing: tuple[str, ...]
    words: str
    evaluate: tuple[str, ...] = ()
    is_base: bool = False

    def path(self, directory: pathlib.Path) -> pathlib.Path:
        """Its own directory, from that of the sweep."""
        return (directory.parent / BASES if self.is_base else directory) / self.name

    def flags(self, directory: pathlib.Path) -> tuple[str, ...]:
        """The flags of train.py that choose its configuration; `directory` is the sweep's."""
        values = {
            key: os.path.abspath(value.path(directory)) if isinstance(value, Planned) else as_text(value)
            for key, value in self.overrides.items()
        }
        return (f"--config={self.config}", *(f"--config.{key}={value}" for key, value in values.items()))

    @property
    def bases(self) -> list["Planned"]:
        """The runs that it begins with, each behind those that it begins with itself."""
        return with_bases([value for value in self.overrides.values() if isinstance(value, Planned)])

    @property
    def scores(self) -> str:
        """The file in the run's directory that these flags of eval.py write: others write another one."""
        digest = hashlib.blake2b(json.dumps(self.evaluate).encode(), digest_size=4).hexdigest()
        return f"scores-{digest}.json"

    @property
    def values(self) -> dict[str, Any]:
        """{key: value} of the keys that differ, in words of a run; a run need not have all of them."""
        mine = {CONFIG: self.config, **self.overrides}
        found = {key: mine[key] for key in self.differing if key in mine}
        return {key: value.words if isinstance(value, Planned) else value for key, value in found.items()}


def with_bases(runs: Sequence[Planned]) -> list[Planned]:
    """Runs, each behind those that it begins with, which come once."""
    found = {}
    for run in runs:
        found |= {one.name: one for one in (*run.bases, run)}
    return list(found.values())


def as_text(value: Any) -> str:
    """A value as the command line has it; of a run its name, which all its options decide."""
    if isinstance(value, Planned):
        return value.name
    return value if isinstance(value, str) else repr(value)


def is_seed(key: str) -> bool:
    """Whether runs that differ in this key alone are repetitions of each other."""
    return key.rpartition(".")[2] == SEED


def find(path: str) -> pathlib.Path:
    """The sweep file of a name: as it is, or that which comes with Cloze.

    Raises:
        ConfigError: there is none.
    """
    for place in (pathlib.Path(path), cli.HERE / path):
        if place.is_file():
            return place
    known = sorted(str(file.relative_to(cli.HERE)) for file in (cli.HERE / "configs" / "sweeps").glob("[!_]*.py"))
    raise ConfigError(f"there is no sweep file {path}{options.suggest(path, known)}; of Cloze: {', '.join(known)}")


def load(path: str) -> list[Planned]:
    """The runs of a sweep file.

    Raises:
        ConfigError: it cannot be read, has no `sweep()`, or that gives no runs, two equal ones or one without config.
    """
    return read(path)[0]


def read(path: str) -> tuple[list[Planned], Study | None]:
    """(the runs of a sweep file, its study if it defines one); raises as `load`."""
    file = find(path)
    try:
        defined = runpy.run_path(str(file))
        function, evaluate, study = (defined.get(name) for name in ("sweep", "EVALUATE", "STUDY"))
        if not callable(function):
            raise ConfigError("it defines no function sweep(), which returns the runs; see docs/sweeps.md")
        if not isinstance(evaluate, (list, tuple, type(None))):
            raise ConfigError("EVALUATE must be a list of flags of eval.py")
        if not isinstance(study, (Study, type(None))):
            raise ConfigError("STUDY must be a cloze.sweeps.Study")
        return [dataclasses.replace(run, evaluate=tuple(evaluate or ())) for run in named(function())], study
    except UserError as error:
        raise ConfigError(f"{path}: {error}") from None
    except Exception as error:  # whatever the user's own code raises
        raise ConfigError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def named(runs: Sequence[Mapping[str, Any]], are_bases: bool = False) -> list[Planned]:
    """Runs with their names, which say in what they differ, whatever the order of their keys.

    A value that is itself a run, a mapping, is one that the run begins with.

    Args:
        runs: what `sweep()` has returned.
        are_bases: others begin with them; a name follows from a run's own options then, so that sweeps can share it.

    Raises:
        ConfigError: see `load`.
    """
    if not isinstance(runs, (list, tuple)) or not all(isinstance(run, Mapping) for run in runs):
        raise ConfigError("sweep() must return a list of runs, as product, zip_, chain and sample make it")
    if not runs:
        raise ConfigError("sweep() has no runs")
    runs = _with_planned_bases(runs)
    texts = [{key: as_text(value) for key, value in sorted(run.items())} for run in runs]
    _check(texts)
    said = [
        text | {key: value.words for key, value in run.items() if isinstance(value, Planned)}
        for text, run in zip(texts, runs, strict=True)
    ]
    keys = sorted(set().union(*said))
    differing = tuple(key for key in keys if len({text.get(key) for text in said}) > 1)
    called = short_keys(differing)
    unseeded = tuple(key for key in differing if not is_seed(key))
    telling = (CONFIG,) if _tells_all(CONFIG, unseeded, said) else unseeded
    words = [_name(text, [key for key in telling if key in text], called) for text in said]
    if are_bases:
        seeds = [key for key in keys if is_seed(key)]
        names = [_marked(_name(text, [CONFIG, *seeds], short_keys(seeds)), text) for text in texts]
    else:
        names = [_name(text, differing, called) for text in said]
        twice = {name for name, count in collections.Counter(names).items() if count > 1}
        names = [_marked(name, text) if name in twice else name for name, text in zip(names, texts, strict=True)]
    return [
        Planned(
            name, run[CONFIG], {key: run[key] for key in sorted(run) if key != CONFIG}, differing, word,
            is_base=are_bases,
        )
        for name, run, word in zip(names, runs, words, strict=True)
    ]  # fmt: skip


def _tells_all(key, differing, texts):
    """Whether runs that agree in this key agree in all others that differ."""
    return len({text.get(key) for text in texts}) == len({tuple(map(text.get, differing)) for text in texts})


def _with_planned_bases(runs):
    """The runs, with runs among their values planned."""
    texts = {json.dumps(base, sort_keys=True, default=repr): base for base in _values(runs)}
    if not texts:
        return runs
    bases = dict(zip(texts, named(list(texts.values()), are_bases=True), strict=True))
    return [
        {
            key: bases[json.dumps(value, sort_keys=True, default=repr)] if isinstance(value, Mapping) else value
            for key, value in run.items()
        }
        for run in runs
    ]


def _values(runs):
    return (value for run in runs for value in run.values() if isinstance(value, Mapping))


def _check(texts):
    seen: dict[str, int] = {}
    for number, text in enumerate(texts, 1):
        if not text.get(CONFIG):
            raise ConfigError(
                f'run {number} has no "{CONFIG}": name a config file, as in config="configs/bert.py:tiny"'
            )
        before = seen.setdefault(json.dumps(text), number)
        if before != number:
            told = ", ".join(f"{key}={value}" for key, value in text.items())
            raise ConfigError(f"runs {before} and {number} have the same options ({told}): they would share a name")


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """{key: its last word, or all of it where another key ends with the same one}."""
    last = collections.Counter(key.rpartition(".")[2] for key in keys)
    return {key: word if last[word := key.rpartition(".")[2]] == 1 else key for key in keys}


def _name(text, differing, called):
    parts = [_config_name(text[CONFIG])] if CONFIG in differing or not differing else []
    parts += [f"{called[key]}={text[key]}" for key in differing if key != CONFIG and key in text]
    name = re.sub(r"[^\w=.+-]+", "-", ",".join(parts).replace(",", "-"), flags=re.ASCII).strip("-.")
    return name if len(name) <= LONGEST and name else _marked(name, text)


def _config_name(config):
    path, _, arguments = config.partition(":")
    return "-".join(filter(None, [pathlib.Path(path).stem, arguments]))


def _marked(name, text):
    """A name that is too long, or that two runs would have, with a hash of the run's options."""
    digest = hashlib.blake2b(json.dumps(text).encode(), digest_size=4).hexdigest()
    return f"{name[: LONGEST - 9]}-{digest}".lstrip("-")


def checked(runs: Sequence[Planned], workdir: pathlib.Path) -> dict[str, dict]:
    """{name: JSON dict of the configuration} of all runs and of those that they begin with, each refused as train.py
    would refuse it.

    Args:
        runs: of the sweep.
        workdir: the sweep's directory.

    Raises:
        ConfigError: names the run, and what is wrong.
    """
    from cloze.configs import base
    from cloze.training import resolve

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        places = {}  # {a run that has not begun: what stands in its place for those that begin with it}
        for run in with_bases(runs):
            try:
                config = cli.read_config(_replaced(run.flags(workdir), places))
                config = base.to_dict(resolve.checked(config, kept=run.path(workdir) / "config.json"))
            except UserError as error:
                raise type(error)(f"run {run.name}: {error}") from None
            back = {there: here for here, there in places.items()}
            found[run.name] = json.loads(*_replaced([json.dumps(config)], back))
            if run.is_base and not (run.path(workdir) / "config.json").is_file():
                place = pathlib.Path(folder) / run.name
                places[os.path.abspath(run.path(workdir))] = str(place)
                place.mkdir()
                (place / "config.json").write_text(json.dumps(config))
    return found


def _replaced(texts, places):
    for old, new in places.items():
        texts = [text.replace(old, new) for text in texts]
    return texts


def keep(runs: Sequence[Planned], workdir: pathlib.Path, source: str) -> None:
    """Writes the runs of a sweep into its directory; `source` is the sweep file."""
    workdir.mkdir(parents=True, exist_ok=True)
    storage.write_checked(workdir / FILE, {"source": source, "runs": [dataclasses.asdict(run) for run in runs]})


def kept(workdir: pathlib.Path) -> tuple[list[Planned], str]:
    """(the runs of a sweep, its file), out of its directory.

    Raises:
        ConfigError: it holds no sweep, or what says so is damaged.
    """
    file = workdir / FILE
    if not file.is_file():
        raise ConfigError(f"{workdir} holds no sweep: {FILE} is missing; start one there with --sweep=FILE")
    try:
        value = storage.read_checked(file)
        return [_planned(run) for run in value["runs"]], value["source"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{file} is damaged ({error}): give the sweep's command again, which writes it anew"
        ) from None


def _planned(value):
    """A run out of JSON."""
    overrides = {key: _planned(item) if isinstance(item, dict) else item for key, item in value["overrides"].items()}
    return Planned(**{key: _tuples(item) for key, item in value.items()} | {"overrides": _tuples(overrides)})


def _tuples(value):
    """JSON's lists as tuples, at any depth: a run's values are none."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
