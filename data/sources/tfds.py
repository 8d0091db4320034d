"""Data sets that tensorflow-datasets has prepared, read without TensorFlow, by random access to ArrayRecord shards."""

import dataclasses
import importlib
import os
import re
from typing import ClassVar

from cloze.data.sources.base import SOURCES, Source, digest, steps
from cloze.data.sources.records import field, no_field
from cloze.errors import DataError
from cloze.options import suggest

_PACKAGES = ("text", "question_answering", "summarization", "translate")  # of tensorflow-datasets, with text in them
_RECORDS_PER_READ = 256  # one bulk read, a few MB at most
_VERSION = re.compile(r"\d+\.\d+\.\d+")


@SOURCES.register("tfds")
@dataclasses.dataclass(frozen=True)
class TfdsSource(Source):
    """One split of a data set that tensorflow-datasets has prepared as ArrayRecord.

    The address is NAME[:VERSION][:SPLIT], where NAME is a registered name
    ("wikipedia/20230601.en") or the path of a prepared version's folder, and SPLIT is anything
    the library slices ("train", the default, or "train[:10%]").
    """

    after: ClassVar[str] = "NAME"

    def check(self):
        features = self.check_shards()
        if self.text_field not in features:
            raise no_field(f"data source {self.name!r}", self.text_field, sorted(features))

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
        return digest("tfds", *parts)

    def pieces(self):
        builder, split = self.open()
        whole, part = builder.info.splits[split.partition("[")[0]], builder.info.splits[split]
        return steps(part.num_examples, whole.num_bytes * part.num_examples // max(1, whole.num_examples))

    def texts(self, piece):
        return (field(record, self.text_field, where) for record, where in self.records(*piece.place))

    def records(self, first=0, last=None):
        """Yields (record as the library gives it, a dict of numpy values; where it is from, for messages).

        Args:
            first, last: records [first, last); None: up to the end.

        Raises:
            DataError: a shard cannot be read.
        """
        builder, split = self.open()
        records = builder.as_data_source(split=split)
        last = len(records) if last is None else last
        for start in range(first, last, _RECORDS_PER_READ):
            stop = min(start + _RECORDS_PER_READ, last)
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
        name, split = _split_name(self.address)
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
