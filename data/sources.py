"""Where text comes from: the embedded corpus, text files, JSON lines and tensorflow-datasets.

A source yields the texts of its documents in a fixed order. A document that is blank is skipped,
so no consumer ever sees one. Data sets are read without TensorFlow, by random access to ArrayRecord
shards prepared beforehand.
"""

import abc
import dataclasses
import glob
import gzip
import hashlib
import importlib
import math
import os
import pathlib
import re
import zlib
from collections.abc import Iterator

from cloze import storage
from cloze.data import pydocs
from cloze.errors import ConfigError, DataError
from cloze.options import suggest

KINDS = ("pydocs", "text", "jsonl", "tfds")
_FORMAT = 1  # part of every fingerprint: raise it when a source cuts or cleans text differently
_PACKAGES = ("text", "question_answering", "summarization", "translate")  # of tensorflow-datasets, with text in them
_RECORDS_PER_READ = 256  # of a tensorflow-datasets split: one bulk read, a few MB at most
_SURROGATE = re.compile("[\ud800-\udfff]")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def parse(text: str, *, text_field: str, tfds_dir: str) -> list[tuple["Source", float]]:
    """Reads the value of `data.source`.

    Args:
        text: one source or several with commas between them, each with its weight (1 if not given):
            "tfds:c4/en=0.8,text:books/*.txt=0.2". A `=NUMBER` at the end is always a weight.
        text_field: the field that holds the text (jsonl, tfds).
        tfds_dir: where prepared tensorflow-datasets live; empty for the library's own default.

    Returns:
        Pairs of source and weight; the weights sum to 1.

    Raises:
        ConfigError: an unknown kind of source, a missing name, a bad weight, or a source named twice.
    """
    weighted = {}
    for part in (text or "").split(","):
        name, weight = _split_weight(part.strip())
        if name in weighted:
            raise ConfigError(f"data.source names {name!r} twice: name it once, with the sum of the weights")
        weighted[name] = weight
    total = sum(weighted.values())
    return [(_source(name, text_field, tfds_dir), weight / total) for name, weight in weighted.items()]


def of_split(options, split: str) -> list[tuple["Source", float]]:
    """The sources and weights of "train" or "validation" text, checked to be there.

    Args:
        options: the section `data` of a configuration.
        split: "validation" is read from data.validation_source, if that is set.

    Raises:
        ConfigError, DataError: see `parse` and `Source.check`.
    """
    text = options.validation_source if split == "validation" and options.validation_source else options.source
    parsed = parse(text, text_field=options.text_field, tfds_dir=options.tfds_dir)
    for source, _ in parsed:
        source.check()
    return parsed


def _split_weight(part):
    name, equals, number = part.rpartition("=")
    if not equals:
        return part, 1.0
    try:
        weight = float(number)
    except ValueError:
        if name.startswith(("text:", "jsonl:")):  # a path may hold an equals sign: date=today/*.txt
            return part, 1.0
        raise ConfigError(f"the weight in data.source {part!r} must be a number, got {number!r}") from None
    if not (weight > 0 and math.isfinite(weight)):
        raise ConfigError(f"the weight in data.source {part!r} must be positive and finite")
    return name, weight


def _source(name, text_field, tfds_dir):
    kind, _, rest = name.partition(":")
    if kind not in KINDS:
        raise ConfigError(
            f"unknown data source {name!r}{suggest(kind, KINDS) or '.'} Write pydocs, text:GLOB, jsonl:GLOB or "
            "tfds:NAME; in a mixture, separate whole sources with commas: text:a/*.txt=0.5,text:b/*.txt=0.5"
        )
    if (kind == "pydocs") != (not rest):
        raise ConfigError(
            f"data source {name!r}: "
            + (f"{kind} takes nothing after it" if rest else f"write what to read after the colon: {kind}:...")
        )
    if kind == "pydocs":
        return PydocsSource(name)
    if kind == "text":
        return TextSource(name, rest)
    if kind == "jsonl":
        return JsonlSource(name, rest, text_field)
    return TfdsSource(name, rest, text_field, tfds_dir)


@dataclasses.dataclass(frozen=True)
class Source(abc.ABC):
    """A collection of documents in a fixed order.

    Attributes:
        name: the source as the user wrote it, without its weight.
    """

    name: str

    @abc.abstractmethod
    def check(self) -> None:
        """Looks whether there is anything to read, without reading it.

        Raises:
            DataError: files are missing, or a data set is not prepared.
        """

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Returns a hash (hex) that changes when the text would; cheap, reads no text.

        Raises:
            DataError: as `check`.
        """

    @abc.abstractmethod
    def _texts(self) -> Iterator[str]:
        """Yields every text, blank ones too."""

    def documents(self, skip: int = 0) -> Iterator[str]:
        """Yields the documents from number `skip` on, counted without the blank ones.

        Raises:
            DataError: no document at all, or what `check` finds, or text that cannot be read.
        """
        self.check()
        number = 0
        for text in self._texts():
            if text.strip():
                if number >= skip:
                    yield text
                number += 1
        if not number:
            raise DataError(f"data source {self.name!r} holds no text: every document is empty; check what it names")


@dataclasses.dataclass(frozen=True)
class PydocsSource(Source):
    """The embedded corpus; see `data.pydocs`."""

    def check(self):
        """Every installation holds it."""

    def fingerprint(self):
        return _hash("pydocs", pydocs.fingerprint())

    def _texts(self):
        return (document.text for document in pydocs.documents())


@dataclasses.dataclass(frozen=True)
class _FileSource(Source):
    """Files that match a glob (`**` for any depth), in the order of their paths. `.gz` files are unpacked."""

    pattern: str

    def paths(self) -> list[pathlib.Path]:
        """Returns the files that match, sorted.

        Raises:
            DataError: none does.
        """
        matches = glob.glob(os.path.expanduser(self.pattern), recursive=True)
        paths = [pathlib.Path(os.path.abspath(match)) for match in sorted(matches) if os.path.isfile(match)]
        if not paths:
            raise DataError(
                f"data source {self.name!r}: no file matches {self.pattern!r}, looked for from {os.getcwd()}; "
                "correct the pattern, or give an absolute path"
            )
        return paths

    def check(self):
        paths = self.paths()
        if not any(path.stat().st_size for path in paths):
            raise DataError(f"data source {self.name!r} is empty: all {len(paths)} files have 0 bytes, e.g. {paths[0]}")

    def fingerprint(self):
        stats = [(str(path), path.stat()) for path in self.paths()]
        return _hash(*[part for path, stat in stats for part in (path, stat.st_size, stat.st_mtime_ns)])


@dataclasses.dataclass(frozen=True)
class TextSource(_FileSource):
    """Text files in UTF-8, each of them one document."""

    def _texts(self):
        for path in self.paths():
            yield _decode(b"".join(_lines(path)), path, 0).replace("\r\n", "\n")


@dataclasses.dataclass(frozen=True)
class JsonlSource(_FileSource):
    """Files with one JSON object a line, each of them one document; blank lines are ignored."""

    text_field: str

    def fingerprint(self):
        return _hash(super().fingerprint(), self.text_field)

    def _texts(self):
        for path in self.paths():
            offset = 0
            for number, line in enumerate(_lines(path), 1):
                if line.strip():
                    yield self._text(_decode(line, path, offset), f"{path}:{number}")
                offset += len(line)

    def _text(self, line, where):
        record = parse_json(
            line, where, f'each line must hold one whole object, such as {{"{self.text_field}": "..."}}'
        )
        if not isinstance(record, dict):
            raise DataError(f"{where}: a JSON {type(record).__name__}, where an object with fields is expected")
        return _field(record, self.text_field, where)


@dataclasses.dataclass(frozen=True)
class TfdsSource(Source):
    """One split of a data set that tensorflow-datasets has prepared as ArrayRecord.

    The part of `name` after "tfds:" is NAME[:VERSION][:SPLIT], where NAME is a registered name
    ("wikipedia/20230601.en") or the path of a prepared version's folder, and SPLIT is anything
    the library slices ("train", the default, or "train[:10%]").
    """

    dataset: str
    text_field: str
    tfds_dir: str

    def check(self):
        features = self.check_shards()
        if self.text_field not in features:
            raise DataError(
                f"data source {self.name!r} has no field {self.text_field!r}"
                f"{suggest(self.text_field, features) or ';'} its fields are {', '.join(sorted(features))}: "
                "choose one with data.text_field"
            )

    def check_shards(self):
        """Looks whether all files are there; returns the library's description of the fields.

        Raises:
            DataError: see `check`.
        """
        builder, split = self.open()
        missing = [path for path in builder.info.splits[split].filepaths if not path.exists()]
        if missing:
            raise DataError(
                f"data source {self.name!r}: {len(missing)} shards of the prepared data set are missing, "
                f"the first is {missing[0]}; copy or prepare it again"
            )
        return builder.info.features

    def fingerprint(self):
        builder, split = self.open()
        info = builder.info.splits[split]
        parts = (builder.info.full_name, split, self.text_field, len(info.filepaths), info.num_examples)
        return _hash("tfds", *parts)

    def _texts(self):
        return (_field(record, self.text_field, where) for record, where in self.records())

    def records(self):
        """Yields (record as the library gives it, a dict of numpy values; where it is from, for messages).

        Raises:
            DataError: a shard cannot be read.
        """
        builder, split = self.open()
        records = builder.as_data_source(split=split)
        for start in range(0, len(records), _RECORDS_PER_READ):
            stop = min(start + _RECORDS_PER_READ, len(records))
            where = f"{self.name}, records {start} to {stop - 1}"
            try:
                batch = records.__getitems__(range(start, stop))
            except (RuntimeError, ValueError, IndexError) as error:  # what ArrayRecord raises on damaged shards
                raise DataError(
                    f"{where}: a shard in {builder.data_path} cannot be read ({error}); copy or prepare it again"
                ) from error
            for record in batch:
                yield record, where

    def open(self):
        """Returns the library's builder and the name of the split.

        Raises:
            DataError: an unknown data set, one that is not prepared, or prepared in a format that
                cannot be read without TensorFlow, or an unknown split.
        """
        name, split = _split_name(self.dataset)
        builder = self._builder(name)
        file_format = builder.info.file_format.value
        if file_format != "array_record":
            raise DataError(
                f"data source {self.name!r}: {builder.data_path} holds {file_format} files, which cannot be read "
                f"without TensorFlow; {_how_to_prepare(name, self.tfds_dir)}"
            )
        try:
            builder.info.splits[split]
        except (KeyError, ValueError, AssertionError) as error:
            raise DataError(
                f"data source {self.name!r}: no split {split!r} ({error}); "
                f"the splits are {', '.join(sorted(builder.info.splits))}: write tfds:{name}:SPLIT"
            ) from None
        return builder, split

    def _builder(self, name):
        import tensorflow_datasets as tfds  # slow to import, and most runs do without

        for package in _PACKAGES:  # registers what they hold
            importlib.import_module(f"tensorflow_datasets.{package}")
        if _is_path(name):
            folder = os.path.expanduser(name)
            try:
                return tfds.builder_from_directory(folder)
            except (tfds.core.dataset_info.DatasetInfoFileError, FileNotFoundError):
                raise DataError(
                    f"data source {self.name!r}: no dataset_info.json in {os.path.abspath(folder)}; "
                    "name the folder of one prepared version, such as .../my_dataset/1.0.0"
                ) from None
        data_dir = os.path.expanduser(self.tfds_dir) or None
        looked = f"looked in {data_dir or os.path.expanduser(str(tfds.core.constants.DATA_DIR))}"
        try:
            builder = tfds.builder(name, data_dir=data_dir)
        except tfds.core.registered.DatasetNotFoundError:
            known = tfds.list_builders(with_community_datasets=False)  # those would be asked for over the network
            raise DataError(
                f"data source {self.name!r}: tensorflow-datasets knows no data set {name!r}"
                f"{suggest(name.partition(':')[0], known) or ';'} none of that name is prepared either: {looked}"
            ) from None
        except ValueError as error:  # a configuration or a version that the data set does not have
            raise DataError(f"data source {self.name!r}: {error}") from None
        except (
            ImportError
        ):  # the library's code for some data sets (SuperGLUE) needs TensorFlow: the files know as much
            builder = _from_files(name, data_dir)
        if builder is None or not builder.is_prepared():
            raise DataError(
                f"data source {self.name!r} is not prepared: {looked}; {_how_to_prepare(name, self.tfds_dir)}"
            )
        return builder


def _from_files(name, data_dir):
    """The library's builder of a data set as its files describe it; None where there are none."""
    import tensorflow_datasets as tfds

    name, options = tfds.core.naming.parse_builder_name_kwargs(name, data_dir=data_dir)
    try:
        return tfds.core.read_only_builder.builder_from_files(str(name), **options)
    except tfds.core.registered.DatasetNotFoundError:
        return None


def _split_name(dataset):
    """Cuts NAME[:VERSION][:SPLIT] into the library's name (with its version) and the split."""
    scheme, slashes, rest = dataset.rpartition("://")
    name, *parts = rest.split(":", 1)
    if parts and _VERSION.match(parts[0]):
        version, *parts = parts[0].split(":", 1)
        name = f"{name}:{version}"
    return scheme + slashes + name, parts[0] if parts and parts[0] else "train"


def _is_path(name):
    return "://" in name or name.startswith(("/", "./", "../", "~"))


def _how_to_prepare(name, tfds_dir):
    return (
        f"prepare it with: tfds build {name} --data_dir={tfds_dir or '~/tensorflow_datasets'} "
        "--file_format=array_record, on a machine with TensorFlow (C4 and Wikipedia need Apache Beam too), "
        "and copy the folder here, or point data.tfds_dir at it"
    )


def _field(record, field, where):
    """The text in one field of a record, as a str that any encoder accepts."""
    if field not in record:
        raise DataError(
            f"{where}: no field {field!r}{suggest(field, record) or ';'} the fields there are "
            f"{', '.join(map(str, record)) or 'none'}: choose one with data.text_field"
        )
    text = record[field]
    if isinstance(text, bytes):  # as tensorflow-datasets gives it
        text = _decode(text, f"{where}, field {field!r}", 0)
    if not isinstance(text, str):
        raise DataError(f"{where}: field {field!r} holds a {type(text).__name__}, where text is expected")
    return whole_characters(text)


def parse_json(text: str, where: str, hint: str):
    """A JSON value, whose texts any encoder accepts.

    Args:
        text: the JSON.
        where: file and line, for messages.
        hint: what to look for where it is not valid.

    Raises:
        DataError: it is not valid, or too deep.
    """
    try:
        value = storage.parse_json(text)
        return _with_whole_characters(value) if r"\ud" in text.lower() else value
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error}); {hint}") from None


def _with_whole_characters(value):
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, list):
        return [_with_whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {whole_characters(key): _with_whole_characters(item) for key, item in value.items()}
    return value


def whole_characters(text: str) -> str:
    """A text with U+FFFD for halves of surrogate pairs, which JSON can spell (web text does) and no tokenizer takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _SURROGATE.search(text) else text


def _lines(path):
    """Yields the lines of a file as bytes."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            yield from file
    except (OSError, EOFError, zlib.error) as error:  # a damaged archive gives any of these
        raise DataError(f"{path} cannot be read: {error}") from None


def _decode(content, path, offset):
    """UTF-8 to text; `offset` is where in the file the content begins."""
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: the byte at offset {offset + error.start} is not UTF-8; save the file as UTF-8"
        ) from None


def _hash(*parts):
    return hashlib.sha256("\0".join(map(str, (_FORMAT, *parts))).encode()).hexdigest()
