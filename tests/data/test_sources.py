"""Sources: what they yield, in which order, when their fingerprint changes, and what they say when they cannot."""

import gzip
import hashlib
import itertools
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from cloze.data import pydocs, sources
from cloze.errors import ConfigError, DataError
from tests.faults import CHAOS

ROOT = pathlib.Path(__file__).resolve().parents[2]


def parse(text, text_field="text", tfds_dir=""):
    return sources.parse(text, text_field=text_field, tfds_dir=tfds_dir)


def source(text, **options):
    ((only, weight),) = parse(text, **options)
    assert weight == 1
    return only


# --- data.source ---


def test_weights_are_normalised_and_default_to_one():
    parsed = parse("tfds:c4/en=2,text:books/*.txt,pydocs=1")
    assert [s.name for s, _ in parsed] == ["tfds:c4/en", "text:books/*.txt", "pydocs"]
    assert [w for _, w in parsed] == pytest.approx([0.5, 0.25, 0.25])


def test_an_equals_sign_in_a_path_is_no_weight():
    ((only, weight),) = parse("text:date=today/*.txt")
    assert (only.name, weight) == ("text:date=today/*.txt", 1)
    ((only, weight),) = parse("text:date=today/*.txt=3")
    assert (only.name, weight) == ("text:date=today/*.txt", 1)


@pytest.mark.parametrize(
    "text, words",
    [
        ("pydoc", "did you mean 'pydocs'"),
        ("jsnl:a.jsonl", "did you mean 'jsonl'"),
        ("", "pydocs, text:GLOB"),
        ("text:a.txt,b.txt", "separate whole sources"),
        ("text:", "after the colon"),
        ("pydocs:numpy", "takes nothing after it"),
        ("pydocs=0", "positive"),
        ("pydocs=nan", "positive"),
        ("pydocs=-1", "positive"),
        ("pydocs=much", "must be a number"),
        ("text:a=1,text:a=2", "twice"),
    ],
)
def test_bad_source_names_the_fix(text, words):
    with pytest.raises(ConfigError, match=words):
        parse(text)


# --- files ---


@pytest.fixture
def books(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_bytes("zweites \u00e9\r\nline".encode())
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbffirst\n\nbook")
    (tmp_path / "blank.txt").write_text(" \n")
    (tmp_path / "sub" / "c.txt").write_text("third")
    (tmp_path / "d.txt.gz").write_bytes(gzip.compress(b"packed"))
    return tmp_path


def test_each_text_file_is_a_document_in_the_order_of_paths(books):
    assert list(source(f"text:{books}/*.txt").documents()) == ["first\n\nbook", "zweites \u00e9\nline"]
    assert list(source(f"text:{books}/**/*.txt").documents())[-1] == "third"
    assert list(source(f"text:{books}/*.gz").documents()) == ["packed"]


def test_skip_counts_documents_that_are_not_blank(books):
    every = list(source(f"text:{books}/**/*.txt").documents())
    assert len(every) == 3
    for skip in range(5):
        assert list(source(f"text:{books}/**/*.txt").documents(skip=skip)) == every[skip:]


def test_no_file_names_the_pattern_and_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for use in (lambda s: s.check(), lambda s: s.fingerprint(), lambda s: next(s.documents())):
        with pytest.raises(DataError) as caught:
            use(source("text:nowhere/*.txt"))
        assert "nowhere/*.txt" in str(caught.value) and str(tmp_path) in str(caught.value)


def test_undecodable_text_names_the_byte(books):
    (books / "a.txt").write_bytes(b"good \xff bad")
    with pytest.raises(DataError, match=r"a\.txt: the byte at offset 5 is not UTF-8; save the file as UTF-8"):
        list(source(f"text:{books}/a.txt").documents())


def test_undecodable_json_line_names_the_byte_in_the_file(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "a"}\n{"text": "\xff"}\n')
    with pytest.raises(DataError, match="offset 24 is not UTF-8"):
        list(source(f"jsonl:{tmp_path}/x.jsonl").documents())


def test_empty_files_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match="0 bytes"):
        source(f"text:{tmp_path}/a.txt").check()
    (tmp_path / "a.txt").write_text("  \n")
    with pytest.raises(DataError, match="holds no text"):
        list(source(f"text:{tmp_path}/a.txt").documents(skip=3))


def test_a_truncated_archive_is_reported(books):
    packed = books / "d.txt.gz"
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"d\.txt\.gz cannot be read"):
        list(source(f"text:{packed}").documents())


def test_fingerprint_follows_size_time_names_and_field(books):
    seen = {source(f"text:{books}/*.txt").fingerprint()}
    assert source(f"text:{books}/*.txt").fingerprint() in seen
    stat = (books / "a.txt").stat()
    (books / "a.txt").write_text("first book, longer")
    os.utime(books / "a.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    seen.add(source(f"text:{books}/*.txt").fingerprint())
    os.utime(books / "a.txt", ns=(0, 1))
    seen.add(source(f"text:{books}/*.txt").fingerprint())
    (books / "a.txt").rename(books / "aa.txt")
    seen.add(source(f"text:{books}/*.txt").fingerprint())
    seen.add(source(f"jsonl:{books}/*.txt", text_field="text").fingerprint())
    seen.add(source(f"jsonl:{books}/*.txt", text_field="body").fingerprint())
    assert len(seen) == 6


def test_jsonl_reads_one_document_a_line(tmp_path):
    lines = ['{"text": "one\\ntwo", "id": 3}', "", '{"text": " "}', '{"text": "half \\ud83d pair"}', '{"text": "last"}']
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    read = source(f"jsonl:{tmp_path}/x.jsonl")
    assert list(read.documents()) == ["one\ntwo", "half \ufffd pair", "last"]
    assert list(read.documents(skip=2)) == ["last"]


@pytest.mark.parametrize(
    "line, words",
    [
        ('{"text": "cut', "not valid JSON"),
        ('{"text": ' + 100_000 * "[", "nested too deeply"),
        ('{"txet\\ud83d": "a"}', "no field 'text'; did you mean 'txet\ufffd'"),
        ('["text"]', "JSON list"),
        ('{"txet": "a", "id": 1}', r"no field 'text'; did you mean 'txet'\? the fields there are txet, id"),
        ('{"text": 5}', "holds a int"),
        ('{"text": null}', "holds a NoneType"),
    ],
)
def test_bad_json_names_the_line(tmp_path, line, words):
    (tmp_path / "x.jsonl").write_text('{"text": "fine"}\n\n' + line + "\n")
    read = source(f"jsonl:{tmp_path}/x.jsonl").documents()
    assert next(read) == "fine"
    with pytest.raises(DataError, match=r"x\.jsonl:3: .*" + words):
        next(read)


# --- tensorflow-datasets ---


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data set of two splits in ArrayRecord, as `tfds build` would leave it."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter

    root = tmp_path_factory.mktemp("tfds")
    folder = root / "my_text" / "1.2.0"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict({"text": tfds.features.Text(), "n": tfds.features.Scalar(np.int64)})
    splits = []
    for split, count in (("train", 600), ("test", 3)):
        file = folder / f"my_text-{split}.array_record-00000-of-00001"
        writer = ArrayRecordWriter(str(file), "group_size:1")
        for i in range(count):
            text = " " if i == 5 else f"{split} {i} \u00e9"
            writer.write(features.serialize_example({"text": text, "n": i}))
        writer.close()
        splits.append(tfds.core.SplitInfo(name=split, shard_lengths=[count], num_bytes=file.stat().st_size))
    tfds.folder_dataset.write_metadata(
        data_dir=str(folder),
        features=features,
        split_infos=splits,
        filename_template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        check_data=False,
    )
    return root


def test_tfds_reads_a_split_in_order(prepared):
    read = source("tfds:my_text", tfds_dir=str(prepared))
    read.check()
    expected = [f"train {i} \u00e9" for i in range(600) if i != 5]
    assert list(read.documents()) == expected
    assert list(read.documents(skip=300)) == expected[300:]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("my_text:test", 3),
        ("my_text:1.2.0", 599),
        ("my_text:1.2.0:test", 3),
        ("my_text:train[:10%]", 59),
        ("{root}/my_text/1.2.0", 599),
        ("{root}/my_text/1.2.0:test", 3),
    ],
)
def test_tfds_names_versions_splits_and_paths(prepared, name, expected):
    read = source("tfds:" + name.format(root=prepared), tfds_dir=str(prepared))
    assert len(list(read.documents())) == expected


def test_tfds_fingerprint_tells_splits_and_fields_apart(prepared):
    def fingerprint(name, field="text"):
        return source(name, tfds_dir=str(prepared), text_field=field).fingerprint()

    assert fingerprint("tfds:my_text") == fingerprint("tfds:my_text:train")
    assert len({fingerprint("tfds:my_text"), fingerprint("tfds:my_text:test"), fingerprint("tfds:my_text", "n")}) == 3


@pytest.mark.parametrize("name", ["wikipedia/20230601.en", "c4/en", "glue/cola"])
def test_tfds_says_how_to_prepare(tmp_path, name):
    with pytest.raises(DataError) as caught:
        source(f"tfds:{name}", tfds_dir=str(tmp_path)).check()
    message = str(caught.value)
    assert f"tfds build {name} --data_dir={tmp_path} --file_format=array_record" in message
    assert "Beam" in message and f"looked in {tmp_path}" in message


@pytest.mark.parametrize(
    "name, words",
    [
        ("tfds:my_texts", "knows no data set 'my_texts'"),
        ("tfds:wikipedia/2000", "2000"),
        ("tfds:my_text:9.9.9", "my_text"),
        ("tfds:my_text:validation", "no split 'validation'.*test, train"),
        ("tfds:{root}/my_text", "no dataset_info.json"),
    ],
)
def test_tfds_names_what_is_wrong(prepared, name, words):
    with pytest.raises(DataError, match=words):
        source(name.format(root=prepared), tfds_dir=str(prepared)).check()


def test_tfds_field_must_exist_and_hold_text(prepared):
    with pytest.raises(DataError, match="no field 'body'.*n, text"):
        source("tfds:my_text", tfds_dir=str(prepared), text_field="body").check()
    with pytest.raises(DataError, match="field 'n' holds"):
        list(source("tfds:my_text", tfds_dir=str(prepared), text_field="n").documents())


def _copy(prepared, tmp_path):
    folder = tmp_path / "my_text" / "1.2.0"
    folder.mkdir(parents=True)
    for path in (prepared / "my_text" / "1.2.0").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_tfds_in_tfrecord_is_refused_with_its_reason(prepared, tmp_path):
    info = _copy(prepared, tmp_path) / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(DataError, match="tfrecord files, which cannot be read without TensorFlow.*array_record"):
        source("tfds:my_text", tfds_dir=str(tmp_path)).check()


def test_tfds_missing_and_damaged_shards_are_named(prepared, tmp_path):
    shard = _copy(prepared, tmp_path) / "my_text-train.array_record-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:70_000])
    with pytest.raises(DataError, match=r"records 0 to 255: a shard in .*my_text.* cannot be read"):
        list(source("tfds:my_text", tfds_dir=str(tmp_path)).documents())
    shard.unlink()
    with pytest.raises(DataError, match="1 shards .* missing.*train.array_record"):
        source("tfds:my_text", tfds_dir=str(tmp_path)).check()


def _run(code, *path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_tfds_is_read_without_tensorflow(prepared, tmp_path):
    """Stands a package in TensorFlow's place that leaves a mark when it is imported."""
    fake, mark = tmp_path / "tensorflow", tmp_path / "imported"
    fake.mkdir()
    (fake / "__init__.py").write_text(f"open({str(mark)!r}, 'w').close()\nraise ImportError('not wanted')\n")
    code = (
        "import sys\nfrom data import sources\n"
        "assert 'tensorflow_datasets' not in sys.modules\n"
        f"((s, _),) = sources.parse('tfds:my_text', text_field='text', tfds_dir={str(prepared)!r})\n"
        "s.check(); s.fingerprint(); print(len(list(s.documents())))\n"
        "assert 'tensorflow' not in sys.modules"
    )
    assert _run(code, ROOT, tmp_path) == "599"
    assert not mark.exists()


# --- pydocs ---


# Of some packages, those that sort first among them: reading all takes 13 s, which `make processes` does.
READ = {k: v for k, v in pydocs.PACKAGES.items() if CHAOS or k in ("absl", "array_record", "flax", "numpy")}


@pytest.fixture(scope="module")
def corpus():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pydocs, "PACKAGES", READ)
        return list(pydocs.documents())


def _digest(texts):
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def test_pydocs_is_large_distinct_and_sorted(corpus):
    if CHAOS:
        assert sum(len(d.text.encode()) for d in corpus) > 5_000_000 and "jax" in {d.package for d in corpus}
    assert len(corpus) > 6_000
    assert len({d.text for d in corpus}) == len(corpus)
    packages = [package for package, _ in itertools.groupby(d.package for d in corpus)]
    assert packages == sorted(set(packages))
    assert {"python", "numpy", "flax"} <= set(packages)
    assert not {"torch", "transformers"} & set(packages)
    assert all(len(d.text) >= pydocs.MIN_CHARACTERS for d in corpus)


def test_pydocs_holds_what_it_promises(corpus):
    by_name = {d.name: d.text for d in corpus}
    assert by_name["numpy.linalg._linalg.svd"].startswith("Singular Value Decomposition.")  # a docstring
    assert "multidimensional" in by_name["numpy._core._add_newdocs.numpy._core.multiarray.ndarray"]  # add_newdoc
    assert "import" in by_name["pydoc_data.topics.import"]
    assert not any(".tests." in d.name for d in corpus)


def test_pydocs_repeats_in_another_process_without_importing_the_packages(corpus):
    first = [d.text for d in corpus[:80]]
    code = (
        "import sys, itertools, hashlib\nfrom data import pydocs\n"
        "texts = [d.text for d in itertools.islice(pydocs.documents(), 80)]\n"
        "assert not {'absl', 'jax', 'numpy', 'etils'} & set(sys.modules)\n"
        "print(hashlib.sha256('\\0'.join(texts).encode()).hexdigest(), pydocs.fingerprint())"
    )
    assert _run(code, ROOT).split() == [_digest(first), pydocs.fingerprint()]


def test_pydocs_source_yields_the_text(corpus, monkeypatch):
    monkeypatch.setattr(pydocs, "PACKAGES", READ)
    read = source("pydocs")
    assert _digest(read.documents(skip=10)) == _digest(d.text for d in corpus[10:])


def test_pydocs_fingerprint_follows_versions_without_reading(monkeypatch):
    before = source("pydocs").fingerprint()
    monkeypatch.setattr(pydocs, "documents", None)
    monkeypatch.setattr(pydocs, "_docstrings", None)
    assert source("pydocs").fingerprint() == before
    monkeypatch.setitem(pydocs.PACKAGES, "numpy", "scipy")  # whose version differs
    assert source("pydocs").fingerprint() != before


def test_docstrings_are_found_wherever_they_stand(tmp_path):
    prose = "A sentence that is long enough to count as prose, written only for this test of the reader."
    module = tmp_path / "m.py"
    module.write_text(
        f'''"""Module. {prose}"""
class A:
    """Class. {prose}"""
    async def f(self):
        """Method. {prose}

        Indented."""
if True:
    try:
        def g():
            """In try. {prose}"""
    except ValueError:
        def h():
            """In handler. {prose}"""
add_newdoc("pkg", "thing", ("size", """Added. {prose}"""))
x = """No docstring. {prose}"""
'''
    )
    found = dict(pydocs._docstrings(module, "m"))
    assert {name: text.split(".")[0] for name, text in found.items()} == {
        "m": "Module",
        "m.A": "Class",
        "m.A.f": "Method",
        "m.g": "In try",
        "m.h": "In handler",
        "m.pkg.thing.size": "Added",
    }
    assert found["m.A.f"].endswith("\n\nIndented.")
    module.write_text("def broken(:\n")
    assert list(pydocs._docstrings(module, "m")) == []


def test_prose_is_told_from_licences_and_examples():
    prose = "A sentence that is long enough to count as prose, written only for this test of the reader."
    assert pydocs._is_prose(prose)
    assert not pydocs._is_prose("Too short.")
    assert not pydocs._is_prose("Copyright 2020. " + prose)
    assert not pydocs._is_prose("\n".join([">>> print(1 + 1)", "2"] * 20 + [">>> 3"]))
    assert not pydocs._is_prose(prose + "\ud800")


def test_records_of_a_jsonl_source_survive_a_round_trip(tmp_path):
    texts = ["plain", 'quote " and \\ slash', "two\nlines", "\u65e5\u672c\u8a9e \U0001f600"]
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    assert list(source(f"jsonl:{tmp_path}/*.jsonl").documents()) == texts
