"""Sources that are tables: Parquet files and what `datasets.save_to_disk` writes, here and at addresses."""

import json
import os

import fsspec
import pyarrow
import pytest
from pyarrow import parquet

from cloze.data.sources import base, of_split, parse
from cloze.data.sources.tables import ROWS_PER_READ
from cloze.errors import DataError

TEXTS = [" " if i == 5 else f"text {i} \u00e9" for i in range(40)]
DOCUMENTS = [text for text in TEXTS if text.strip()]


def table(texts, kind="string"):
    return pyarrow.table({"id": list(range(len(texts))), "text": pyarrow.array(texts).cast(kind)})


def write_parquet(directory):
    """Two files of groups of 7 rows, the second with another type of text."""
    directory.mkdir(exist_ok=True)
    parquet.write_table(table(TEXTS[:25]), directory / "a.parquet", row_group_size=7)
    parquet.write_table(table(TEXTS[25:], "large_binary"), directory / "b.parquet", row_group_size=7)
    return f"parquet:{directory}/*.parquet"


def write_hf(directory, texts=TEXTS, files=2):
    """As `datasets` 5.2 writes: Arrow streams with the schema of each, and a state that names them."""
    directory.mkdir(parents=True, exist_ok=True)
    names, size = [f"data-{i:05d}-of-{files:05d}.arrow" for i in range(files)], -(-len(texts) // files)
    for number, name in enumerate(names):
        part = table(texts[number * size : (number + 1) * size])
        with pyarrow.OSFile(str(directory / name), "wb") as file, pyarrow.ipc.new_stream(file, part.schema) as stream:
            stream.write_table(part, max_chunksize=6)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_split": None}
    (directory / "state.json").write_text(json.dumps(state))
    return f"hf:{directory}"


def write_splits(directory):
    write_hf(directory / "train")
    write_hf(directory / "test", TEXTS[:3], 1)
    (directory / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    return f"hf:{directory}"


WRITERS = {"parquet": write_parquet, "hf": write_hf, "splits": write_splits}


def source(name, text_field="text"):
    ((only, _),) = parse(name, text_field=text_field, tfds_dir="")
    return only


@pytest.mark.parametrize("kind", WRITERS)
def test_rows_are_documents_in_order_and_any_number_can_be_skipped(kind, tmp_path):
    read = source(WRITERS[kind](tmp_path / "data"))
    read.check()
    for skip in (0, 4, 5, 24, 38, 39, 50):
        assert list(read.documents(skip=skip)) == DOCUMENTS[skip:]


@pytest.mark.parametrize("size", [1, 50, 300, 1500])
@pytest.mark.parametrize("kind", ["parquet", "hf", "jsonl", "text"])
def test_pieces_hold_each_document_once_wherever_files_are_cut(kind, size, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "PIECE_BYTES", size)
    if kind == "jsonl":
        lines = [json.dumps({"text": text}, ensure_ascii=i % 2) for i, text in enumerate(TEXTS)]
        (tmp_path / "a.jsonl").write_text("\n".join(lines[:30]) + "\n\n")
        (tmp_path / "b.jsonl").write_text("\n".join(lines[30:]))
    elif kind == "text":
        for number, text in enumerate(TEXTS):
            (tmp_path / f"{number:02d}.text").write_text(text)
    name = WRITERS[kind](tmp_path / "data") if kind in WRITERS else f"{kind}:{tmp_path}/*.{kind}"
    read, found = source(name), []
    pieces = read.pieces()
    for piece in pieces:
        found += read.documents(pieces=[piece])
    assert found == DOCUMENTS
    assert len(pieces) > 2 or kind == "hf" or size > 300
    for skip in (0, 17, 39):
        assert (
            list(read.documents(skip=skip, pieces=pieces[1:]))
            == found[-len(list(read.documents(pieces=pieces[1:]))) :][skip:]
        )


def test_a_row_group_is_not_held_at_once(tmp_path):
    """The memory of Arrow while four groups of 4 MB each are read, none of which is compressed."""
    texts = [f"{i:1024d}" for i in range(16 * ROWS_PER_READ)]
    parquet.write_table(
        table(texts), tmp_path / "a.parquet", row_group_size=4 * ROWS_PER_READ, compression="none", use_dictionary=False
    )
    before, most, count = pyarrow.total_allocated_bytes(), 0, 0
    for text in source(f"parquet:{tmp_path}/a.parquet").documents():
        assert text == texts[count]
        count += 1
        if count % 512 == 0:
            most = max(most, pyarrow.total_allocated_bytes() - before)
    assert count == len(texts) and 0 < most < 3 * 4 * ROWS_PER_READ * 1024


def test_a_directory_that_datasets_wrote(tmp_path):
    datasets = pytest.importorskip("datasets")
    whole = datasets.Dataset.from_dict({"text": TEXTS, "id": list(range(40))})
    shuffled = whole.shuffle(seed=1)
    shuffled.save_to_disk(tmp_path / "one", num_shards=3)
    datasets.DatasetDict({"train": whole, "test": whole.select([7, 3])}).save_to_disk(tmp_path / "two")
    expected = [text for text in datasets.load_from_disk(str(tmp_path / "one"))["text"] if text.strip()]
    assert list(source(f"hf:{tmp_path}/one").documents()) == expected != DOCUMENTS
    assert list(source(f"hf:{tmp_path}/two").documents()) == DOCUMENTS
    assert list(source(f"hf:{tmp_path}/two:test").documents()) == [TEXTS[7], TEXTS[3]]
    written = {path.name for path in (tmp_path / "two").rglob("*") if path.is_file()}
    write_splits(tmp_path / "three")  # what the other tests read is what it writes
    assert {path.name for path in (tmp_path / "three").rglob("*.json")} <= written
    whole.to_parquet(tmp_path / "a.parquet")
    assert list(source(f"parquet:{tmp_path}/a.parquet").documents()) == DOCUMENTS


@pytest.mark.parametrize("kind", WRITERS)
def test_fingerprint_follows_the_files_and_the_column(kind, tmp_path):
    name = WRITERS[kind](tmp_path / "data")
    seen = {source(name).fingerprint(), source(name, "id").fingerprint()}
    assert source(name).fingerprint() in seen
    changed = next(path for path in (tmp_path / "data").rglob("*") if path.suffix in (".arrow", ".parquet"))
    os.utime(changed, ns=(0, 1))
    assert len(seen | {source(name).fingerprint()}) == (2 if kind == "splits" and changed.parent.name == "test" else 3)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_column_must_be_there_and_hold_text(kind, tmp_path):
    name = WRITERS[kind](tmp_path / "data")
    with pytest.raises(DataError, match="no field 'txet'; did you mean 'text'.*id, text"):
        source(name, "txet").check()
    with pytest.raises(DataError, match="field 'id' is of type int64, where text is expected"):
        source(name, "id").check()


def test_a_row_without_text_is_named(tmp_path):
    parquet.write_table(table(["a", "b", None]), tmp_path / "a.parquet", row_group_size=2)
    with pytest.raises(DataError, match=r"a\.parquet, row 2: field 'text' holds a NoneType"):
        list(source(f"parquet:{tmp_path}/a.parquet").documents())


@pytest.mark.parametrize("kind", ["parquet", "hf"])
def test_a_file_that_is_cut_off_anywhere_is_named(kind, tmp_path):
    """Also an Arrow stream that ends between two batches, which Arrow itself reads as whole."""
    name = WRITERS[kind](tmp_path)
    path = next(path for path in tmp_path.iterdir() if path.suffix in (".arrow", ".parquet"))
    content = path.read_bytes()
    for size in range(0, len(content), 40 if kind == "parquet" else 8):
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match=f"{path} cannot be read: .*cut off"):
            list(source(name).documents())
    path.unlink()
    if kind == "hf":
        with pytest.raises(DataError, match=f"{path} is missing, which state.json names"):
            source(name).check()


@pytest.mark.parametrize(
    "break_it, address, words",
    [
        (lambda d: None, "{d}:trian", "no split 'trian'; did you mean 'train'.*train, test: write hf:"),
        (lambda d: None, "{d}/train:train", "has no splits; write hf:"),
        (lambda d: None, "{d}/nowhere", "no state.json or dataset_dict.json in .*nowhere"),
        (lambda d: (d / "train/state.json").write_text("{}"), "{d}", "names no data files"),
        (lambda d: (d / "train/state.json").write_text('{"_data'), "{d}", "not valid JSON"),
    ],
)
def test_what_is_wrong_with_a_directory_is_said(break_it, address, words, tmp_path):
    write_splits(tmp_path / "data")
    break_it(tmp_path / "data")
    with pytest.raises(DataError, match=words):
        source(f"hf:{address.format(d=tmp_path / 'data')}").check()


@pytest.mark.parametrize("kind", ["parquet", "hf", "jsonl"])
def test_addresses_are_read_through_fsspec(kind, tmp_path):
    """The file system `memory` stands for gs and s3."""
    if kind == "jsonl":
        (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    here = WRITERS[kind](tmp_path) if kind in WRITERS else f"jsonl:{tmp_path}/*.jsonl"
    there, address = fsspec.filesystem("memory"), f"/bucket-{kind}"
    for path in tmp_path.iterdir():
        there.pipe(f"{address}/{path.name}", path.read_bytes())
    name = here.replace(str(tmp_path), f"memory:/{address}")
    read = source(name)
    read.check()
    assert list(read.documents(skip=3)) == DOCUMENTS[3:]
    first = read.fingerprint()
    assert read.fingerprint() == first
    changed = next(path for path in tmp_path.iterdir() if path.suffix != ".json")
    there.pipe(f"{address}/{changed.name}", changed.read_bytes())
    assert read.fingerprint() != first
    there.rm(address, recursive=True)
    with pytest.raises(DataError, match="no file matches|no state.json"):
        read.check()


def test_an_address_that_cannot_be_reached_says_what_to_install():
    with pytest.raises(DataError, match="cannot be reached .*nosuch.*gcsfs for gs://"):
        source("parquet:nosuch://bucket/*.parquet").check()


def test_a_mixture_of_all_kinds(tmp_path):
    names = [write_parquet(tmp_path / "p"), write_hf(tmp_path / "h") + "=3", f"text:{tmp_path}/p=q/*.txt"]
    (tmp_path / "p=q").mkdir()
    (tmp_path / "p=q" / "a.txt").write_text("a")

    class Options:
        source, validation_source, text_field, tfds_dir = ",".join(names), "", "text", ""

    assert [weight for _, weight in of_split(Options, "train")] == [0.2, 0.6, 0.2]
