"""Readers give back what a file was written from, whatever is in it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloze.errors import DataError
from cloze.tasks import readers
from cloze.tasks.readers import Record

PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r"), max_size=8)
WORD = st.text(st.sampled_from("ab1.,'\"#\u00e9"), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("files") / "file"


def read(path, text, reader, **options):
    path.write_text(text, encoding="utf-8", newline="")
    return list(reader(str(path), **options))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(PLAIN, PLAIN), max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_tables_keep_every_cell(path, rows, end):
    text = end.join(["a\tb", *("\t".join(row) for row in rows)]) + end
    assert read(path, text, readers.tsv) == [{"a": a, "b": b} for a, b in rows]
    found = read(path, text, readers.tsv, columns=("x", "y"), rename={"y": "z"})
    assert found == [{"x": "a", "z": "b"}, *({"x": a, "z": b} for a, b in rows)]


def test_rows_with_more_cells_than_columns_are_refused_where_they_must_fit(path):
    text = "a\tb\n1\t2\n3\t4\t5\n"
    assert read(path, text, readers.tsv)[1] == {"a": "3", "b": "4"}
    with pytest.raises(DataError, match=":3: 3 columns, where 2 are expected .a, b.: .* a tab within a text"):
        read(path, text, readers.tsv, exact=True)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(PLAIN, PLAIN | st.integers() | st.booleans(), max_size=3), max_size=4))
def test_json_lines_keep_every_object(path, objects):
    text = "\n\n".join(json.dumps(entry, ensure_ascii=False) for entry in objects)
    assert read(path, text, readers.json_lines) == objects
    assert read(path, json.dumps(objects), readers.json_list) == objects


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.tuples(WORD, WORD), min_size=1, max_size=4), max_size=4))
def test_columns_keep_every_word_and_tag(path, sentences):
    text = "-DOCSTART- O\n\n" + "\n\n".join("\n".join(" ".join(pair) for pair in sentence) for sentence in sentences)
    expected = [{"words": [w for w, _ in s], "tags": [t for _, t in s]} for s in sentences]
    assert read(path, text, readers.conll, columns=("words", "tags")) == expected
    rows = ["\n".join(f"{n}\t{w}\t_\t{t}" + "\t_" * 6 for n, (w, t) in enumerate(s, 1)) for s in sentences]
    expected = [{"tokens": [w for w, _ in s], "upos": [t for _, t in s]} for s in sentences]
    assert read(path, "# text\n" + "\n\n".join(rows) + "\n", readers.conllu) == expected


LINES = st.sampled_from([" \n", " = Title = \n", " = = Part = = \n", " Words = here . \n", " = x = y = \n"])


@settings(max_examples=50, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=12))
def test_articles_are_the_whole_file_and_begin_with_a_title(path, lines):
    texts = [record["text"] for record in read(path, "".join(lines), readers.articles)]
    assert "".join(texts) == "".join(lines)
    titles = (" = Title = \n", " = x = y = \n")
    assert all(text.startswith(titles) for text in texts[1:])
    assert sum(line in titles for line in lines) in (len(texts), len(texts) - 1)


@settings(max_examples=50, deadline=None)
@given(st.text(st.sampled_from("ab\u00e9\u65e5\U0001f600"), min_size=1, max_size=60))
def test_shares_of_a_file_are_the_whole_file(path, text):
    cuts = [(0, 18), (18, 19), (19, 20)]
    path.write_text(text, encoding="utf-8")
    parts = [next(readers.share_of_bytes(str(path), first=a, last=b))["text"] for a, b in cuts]
    assert "".join(parts) == text
    end = len(parts[0].encode())
    assert 0 <= len(text.encode()) * 18 // 20 - end < 4


def test_a_record_says_where_a_field_is_missing_and_what_it_holds():
    record = Record({"text": "a", "label": {"x": 1}}, "file:3")
    assert record["text"] == "a" and record.get("txt") is None and record.within("label")["x"] == 1
    with pytest.raises(
        DataError, match=r"file:3: no field 'txt'; did you mean 'text'\? the fields there are text, label"
    ):
        record["txt"]
    with pytest.raises(DataError, match="file:3, field 'text' holds a str, where a list is expected"):
        record.each("text")
