"""Records of the files in which benchmarks are distributed, and of tensorflow-datasets, with what is wrong with them.

A reader takes paths and yields a `Record` an example or group of examples, with the fields as they are named there (or
renamed). All files are UTF-8; a mark of the byte order in front is dropped.
"""

import csv
import itertools
import pathlib
import re

from cloze.data import sources
from cloze.errors import DataError
from cloze.options import suggest


class Record(dict):
    """Fields of one record by name; one that is asked for and not there is a DataError.

    Attributes:
        where: file and line, or data set, for messages.
    """

    def __init__(self, fields, where):
        super().__init__(fields)
        self.where = where

    def __missing__(self, field):
        raise DataError(
            f"{self.where}: no field {field!r}{suggest(field, self) or ';'} the fields there are "
            f"{', '.join(map(str, self)) or 'none'}: is the file of this task, and in the format it is distributed in?"
        )

    def within(self, field):
        """The object in a field, as a Record.

        Raises:
            DataError: the field is missing, or holds something else.
        """
        return Record(_is(dict, self[field], f"{self.where}, field {field!r}"), self.where)

    def each(self, field):
        """The objects in the list in a field, as Records.

        Raises:
            DataError: as `within`.
        """
        values = _is(list, self[field], f"{self.where}, field {field!r}")
        return [Record(_is(dict, value, f"{self.where}, field {field!r}"), self.where) for value in values]


def _is(kind, value, where):
    if not isinstance(value, kind):
        expected = {dict: "an object", list: "a list"}[kind]
        raise DataError(f"{where} holds a {type(value).__name__}, where {expected} is expected")
    return value


def _renamed(record, rename):
    """A record with fields under our names; rename: {their name: ours}."""
    return Record({rename.get(key, key): value for key, value in record.items()}, record.where)


def lines(path):
    """Yields (where it is, for messages; line without its end) of a file.

    Raises:
        DataError: the file cannot be read, or is not UTF-8.
    """
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                where = f"{path}:{number}"
                yield where, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise DataError(f"{where} is not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def tsv(path, *, columns=(), rename=None, skip_short=False, exact=False):
    """Rows of a tab-separated file in which quotes mean nothing.

    Args:
        columns: names of the columns of a file without a header; (): the first line names them.
        rename: {name of a column: our name}.
        skip_short: leave out rows that are cut off, instead of refusing them (QQP's training file has a few).
        exact: refuse rows with more cells than columns, too; they are ignored otherwise, as some benchmarks need.
    """
    rows = lines(path)
    names = columns or next(rows, ("", ""))[1].split("\t")
    for where, line in rows:
        cells = line.split("\t")
        if len(cells) == len(names) or (len(cells) > len(names) and not exact):
            yield _renamed(Record(zip(names, cells, strict=False), where), rename or {})
        elif line and not skip_short:
            raise DataError(
                f"{where}: {len(cells)} columns, where {len(names)} are expected ({', '.join(names)}): "
                "is the line cut off, not separated by tabs, or a tab within a text?"
            )


def comma_separated(path):
    """Rows of a file with a header, commas between cells and quotes around cells that need them."""
    reader = csv.DictReader(line + "\n" for _, line in lines(path))
    try:
        for row in reader:
            fields = {key: value for key, value in row.items() if value is not None}
            yield Record(fields, f"{path}:{reader.line_num}")
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num + 1}: {error}; is a quotation mark never closed?") from None


def _parse(text, where):
    return sources.parse_json(text, where, "is the file cut off, or in another format?")


def json_lines(path, *, rename=None):
    """One JSON object a line; blank lines are ignored. rename: {name of a field: our name}."""
    for where, line in lines(path):
        if line.strip():
            yield _renamed(Record(_is(dict, _parse(line, where), where), where), rename or {})


def json_list(path):
    """The objects in a file that is one JSON list."""
    text = "\n".join(line for _, line in lines(path))
    for number, value in enumerate(_is(list, _parse(text, path), path)):
        where = f"{path}, entry {number}"
        yield Record(_is(dict, value, where), where)


def all_json_lines(*paths):
    """One JSON object a line of several files."""
    for path in paths:
        yield from json_lines(path)


def json_objects(*paths):
    """One record a file, each of which is one JSON object."""
    for path in paths:
        text = "\n".join(line for _, line in lines(path))
        yield Record(_is(dict, _parse(text, path), path), path)


def json_lines_with_labels(path, labels):
    """One JSON object a line, with its `label` on the same line of another file (PIQA)."""
    for record, (_, label) in _beside(json_lines(path), lines(labels), path, labels):
        yield Record(record | {"label": label.strip()}, record.where)


def parallel(source, target, *, fields):
    """Lines of two files that belong together. fields: names of both."""
    for (where, left), (_, right) in _beside(lines(source), lines(target), source, target):
        yield Record({fields[0]: left, fields[1]: right}, where)


def _beside(left, right, path, other):
    for number, (one, two) in enumerate(itertools.zip_longest(left, right), 1):
        if one is None or two is None:
            raise DataError(
                f"{path if one is None else other} ends before line {number} of {other if one is None else path}: "
                "both must have as many lines"
            )
        yield one, two


def conll(path, *, columns):
    """Sentences of words in columns that are separated by spaces, with a blank line behind each.

    Lines that begin with -DOCSTART- are left out. Tags are given as they are written, IOB1 or IOB2. A record has a
    list for each of `columns`.
    """
    for block in _blocks(path, lambda line: line.startswith("-DOCSTART-")):
        yield _columns(block, columns, columns, None)


UNIVERSAL_DEPENDENCIES = ("id", "tokens", "lemmas", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


def conllu(path):
    """Sentences of a CoNLL-U file: lists `tokens` and `upos` of the syntactic words.

    Lines of words that are written together (1-2) or not at all (1.1) are left out.
    """
    for block in _blocks(path, lambda line: line.startswith("#")):
        block = [(where, line) for where, line in block if line.partition("\t")[0].isdigit()]
        if block:
            yield _columns(block, UNIVERSAL_DEPENDENCIES, ("tokens", "upos"), "\t")


def words(line):
    """What spaces and tabs separate; other white space, such as U+00A0, belongs to a word."""
    return re.findall("[^ \t]+", line)


def _blocks(path, ignored):
    """Yields lists of (where it is, line) that are separated by blank lines."""
    block = []
    for where, line in lines(path):
        if line.strip() and not ignored(line):
            block.append((where, line))
        elif block and not line.strip():
            yield block
            block = []
    if block:
        yield block


def _columns(block, columns, names, separator):
    rows = []
    for where, line in block:
        cells = line.split(separator) if separator else words(line)
        if len(cells) != len(columns):
            raise DataError(
                f"{where}: {len(cells)} columns, where {len(columns)} are expected ({', '.join(columns)}): "
                "is it another format?"
            )
        rows.append(dict(zip(columns, cells, strict=True)))
    return Record({name: [row[name] for row in rows] for name in names}, block[0][0])


def semeval(path, *, part=slice(None)):
    """SemEval-2010 task 8: number and sentence in quotes, with <e1> and <e2> around two words; relation; a comment.

    A record has `id`, `sentence` and `relation`. part: those of the file that are read.
    """
    for block in list(_blocks(path, lambda line: line.startswith("Comment:")))[part]:
        where = block[0][0]
        match = re.fullmatch(r'(\d+)\s+"?(.*?)"?', block[0][1].strip())
        if len(block) != 2 or not match:
            raise DataError(
                f'{where}: expected a line with a number and a sentence in quotes, such as 1<tab>"The <e1>cup</e1> '
                'holds <e2>tea</e2>.", a line with the relation, and a blank line'
            )
        yield Record({"id": match[1], "sentence": match[2], "relation": block[1][1].strip()}, where)


def whole(path):
    """The whole file as the field `text`, with all its line ends."""
    yield Record({"text": "".join(line + "\n" for _, line in lines(path))}, path)


_HEADING = re.compile(r" = (?!= ).*(?<! =) = ?$")


def articles(path):
    """The articles of a WikiText file, each with its line ends; together they are the whole file."""
    article, start = [], path
    for where, line in lines(path):
        if _HEADING.match(line) and any(text.strip() for text in article):
            yield Record({"text": "".join(article)}, start)
            article, start = [], where
        article.append(line + "\n")
    if article:
        yield Record({"text": "".join(article)}, start)


def share_of_bytes(path, *, first, last):
    """Bytes of a file from `first` to `last`, in twentieths of its size, as the field `text`.

    The 90, 5 and 5 million of the 100 million characters of enwik8 and text8 (Mahoney 2006). A boundary within a
    character of several bytes moves to the character's beginning.
    """
    content = pathlib.Path(path).read_bytes()

    def offset(twentieths):
        at = len(content) * twentieths // 20
        while at < len(content) and content[at] & 0xC0 == 0x80:
            at -= 1
        return at

    try:
        yield Record({"text": content[offset(first) : offset(last)].decode("utf-8")}, path)
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8; is it unpacked?") from None


def prepared(dataset, tfds_dir):
    """Records of a tensorflow-datasets split, NAME:SPLIT, as plain Python values; classes are their names or None.

    Raises:
        DataError: see data.sources.TfdsSource.
    """
    source = sources.TfdsSource(f"tfds:{dataset}", dataset, "", tfds_dir)
    features = source.check_shards()
    for record, where in source.records():
        yield Record({key: _plain(record[key], feature) for key, feature in features.items()}, where)


def _plain(value, feature):
    """A value of tensorflow-datasets as text, numbers, lists and dicts."""
    import tensorflow_datasets as tfds  # slow to import, and most runs do without

    if isinstance(feature, tfds.features.ClassLabel):
        return feature.int2str(int(value)) if value >= 0 else None
    if isinstance(feature, tfds.features.FeaturesDict):
        return {key: _plain(value[key], inner) for key, inner in feature.items()}
    if isinstance(feature, tfds.features.Sequence):
        if isinstance(feature.feature, tfds.features.FeaturesDict):  # a list of objects comes as an object of lists
            return {key: [_plain(v, inner) for v in value[key]] for key, inner in feature.feature.items()}
        return [_plain(item, feature.feature) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if hasattr(value, "item") else value
