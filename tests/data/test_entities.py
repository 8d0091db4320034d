"""Names, dates and numbers: what is found in a text, and which tokens come to carry the flags."""

import itertools
import time
import unicodedata
from pydoc_data.topics import topics

import numpy as np
import pytest
import tokenizers as hf
from hypothesis import given, settings
from hypothesis import strategies as st

from cloze.data import entities, flagged, sentences
from cloze.data import tokenizers as tok
from cloze.data.corpus_files import ENTITY, ENTITY_START, SENTENCE_END
from tests.data import fakes

# --- what is found ---


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", []),
        (" \n\n\t ", []),
        ("nothing to see in here, or there.", []),
        (
            "In the United States, President Barack Obama met Angela Merkel on 3 March 2020 in Berlin.",
            ["United States", "President Barack Obama", "Angela Merkel", "3 March 2020", "Berlin"],
        ),
        # A sentence's first word needs a second capital, or to be capitalised elsewhere too.
        ("Paris is big. They like Paris's food. Bread is good. (Cheese too.)", ["Paris", "Paris"]),
        ("Bread is good.\n\nWine is too", []),
        ("NASA flew. McDonald stayed. UNESCO", ["NASA", "McDonald", "UNESCO"]),
        ("Marie Curie was a scientist.", ["Marie Curie"]),
        # Function words at the ends of a run belong to no name, single letters are none.
        ("When Paris fell, The Times wrote that I am X, and THIS IS A HEADING.", ["Paris", "Times", "HEADING"]),
        ("the Bank of England, the Department of the Interior", ["Bank of England", "Department of the Interior"]),
        ("by Ludwig van Beethoven and by Alice and Bob", ["Ludwig van Beethoven", "Alice", "Bob"]),
        ("with Jean-Paul O'Neill of AT&T in the U.S. Army", ["Jean-Paul O'Neill of AT&T", "U.S. Army"]),
        ("in New\n  York\n\nCity", ["New\n  York"]),
        ("de l'\u00c9cole Normale \u00e0 \u0141\u00f3d\u017a", ["\u00c9cole Normale", "\u0141\u00f3d\u017a"]),
        ("via E\u0301cole and \u041c\u043e\u0441\u043a, \u6771\u4eac", ["E\u0301cole", "\u041c\u043e\u0441\u043a"]),
        ("on July 16, 1969 at 9:32 am, and again at 23:59:01", ["July 16, 1969", "9:32 am", "23:59:01"]),
        ("from Monday, 3 March until the 4th of July", ["Monday, 3 March", "4th of July"]),
        ("Sept. 1939, May 1945 and 2020-03-01T10:00:00Z", ["Sept. 1939", "May 1945", "2020-03-01T10:00:00Z"]),
        ("3/4/2020 or 03.04.20 or 2020-03-04", ["3/4/2020", "03.04.20", "2020-03-04"]),
        ("1914\u201318, 1939-1945, the 1990s, 44 BC, AD 79", ["1914\u201318", "1939-1945", "1990s", "44 BC", "AD 79"]),
        ("January is cold. Sunday is far. Theresa May said so in May.", ["January", "Sunday", "Theresa May", "May"]),
        ("at 5.25%, 12 percent, \u20ac1,234.50 million", ["5.25%", "12 percent", "\u20ac1,234.50 million"]),
        ("-3.5e-4 kg, 20 \u00b0C and 5 km", ["-3.5e-4 kg", "20 \u00b0C", "5 km"]),
        ("+7, .5, 1st, 22nd", ["+7", ".5", "1st", "22nd"]),
        ("1,2,3 or 1,234,567 or 12,34", ["1", "2", "3", "1,234,567", "12", "34"]),
        ("x86, utf8, 3D and 0x1f are none; Python 3.11.2 is", ["Python", "3.11.2"]),
        ("\u0661\u0662\u0663 and \uff11", ["\u0661\u0662\u0663", "\uff11"]),
    ],
)  # fmt: skip
def test_what_is_found(text, expected):
    assert [text[start:end] for start, end in entities.spans(text)] == expected


FOUND = ["Angela Merkel", "3 March 2020", "Bank of England", "NASA", "1,234.5", "\u00d6sterreich", "7%", "York"]
FILLERS = ["went", "to", "the", "na\u00efve", "and, so", "x", "(of)"]


@given(st.lists(st.tuples(st.sampled_from(FILLERS), st.sampled_from(FOUND)), max_size=8))
def test_offsets_are_exact(parts):
    text, expected = "", []
    for filler, entity in parts:
        text += filler + " "
        expected.append((len(text), len(text) + len(entity)))
        text += entity + " "
    assert entities.spans(text) == expected


@settings(max_examples=200)
@given(st.text(alphabet="aAbB1.2,-$% \n'\u00c4\u0301\u00bdof", max_size=60) | st.text(max_size=40))
def test_spans_are_in_order_and_apart(text):
    stop = 0
    for start, end in entities.spans(text):
        assert stop <= start < end <= len(text)
        assert not text[start].isspace() and not text[end - 1].isspace()
        stop = end
    whole = [match.span() for match in entities._SALIENT.finditer(text)]
    assert [match.span() for match in entities._matches(text)] == whole  # the shortcut leaves nothing out


def test_no_text_takes_long():
    hostile = ["1.1", "A", "A ", "1,111", "A" + " " * 40, "A of ", "A.A.", "Jan ", "Monday, ", "A\n", "Aa'", "\n", "--"]
    for unit in hostile:
        began = time.process_time()
        entities.spans(unit * (30_000 // len(unit)) + "a")
        assert time.process_time() - began < 1


# --- which tokens carry the flags ---

LETTERS = "abcdefghijklmnopqrstuvwxyz"
PLAIN = ["went", "to", "class", "the", "statement", "and", "x"]
NAMES = ["Paris", "New York", "Python Class", "3 March 2020", "1,234.5", "NASA", "\u00d6sterreich", "\u00bd", "7%"]
TEXTS = [topics[name] for name in ("assignment", "calls", "class")] + [" ".join(NAMES + PLAIN)] * 4


def converted(kind):
    """Tokenizers as they come converted from sentencepiece: T5's, and Llama's, which has no pieces but characters."""
    alphabet = dict.fromkeys("\u2581" + LETTERS + LETTERS.upper() + "0123456789.,%!?'\"()\n")
    if kind == "t5":
        pieces = [("<pad>", 0.0), ("<unk>", 0.0), *((piece, -3.0) for piece in alphabet), ("\u2581New", -2.0)]
        made = hf.Tokenizer(hf.models.Unigram(pieces, unk_id=1, byte_fallback=False))
        made.normalizer = hf.normalizers.NFKC()
        made.pre_tokenizer = hf.pre_tokenizers.Metaspace()
        made.decoder = hf.decoders.Metaspace()
    else:
        vocabulary = {piece: i for i, piece in enumerate(["<unk>", *alphabet, "\u2581P"])}
        made = hf.Tokenizer(hf.models.BPE(vocabulary, [("\u2581", "P")], unk_token="<unk>", fuse_unk=True))
        normalizers = [hf.normalizers.Prepend("\u2581"), hf.normalizers.Replace(" ", "\u2581")]
        made.normalizer = hf.normalizers.Sequence(normalizers)
        made.decoder = hf.decoders.Metaspace()
    made.add_special_tokens(["<unk>"])
    return made.to_str()


@pytest.fixture(scope="module", params=[*tok.KINDS, "cased", "t5", "llama"])
def tokenizer(request, tmp_path_factory):
    if request.param in ("t5", "llama"):
        path = tmp_path_factory.mktemp("converted") / "tokenizer.json"
        path.write_text(converted(request.param))
        return tok.load(path)
    kind, lowercase = ("wordpiece", False) if request.param == "cased" else (request.param, True)
    return tok.train(TEXTS, kind, 600, lowercase, 2)


MIXED = st.text(alphabet="aBe1\u00bd\u2460\u00e9\ufb01\u0301 \n.,P\u65e5\U0001f600", max_size=40) | st.text(max_size=30)
WORDS = st.lists(st.sampled_from([*PLAIN, *NAMES, "(", ".", "\n\n", " ", "e\u0301"]), max_size=20).map(" ".join)


def test_ids_are_the_same_with_offsets(tokenizer):
    @settings(deadline=None, max_examples=60)
    @given(st.lists(MIXED | WORDS, max_size=3))
    def check(texts):
        found = tokenizer.encode_with_offsets(texts)
        for text, expected, (ids, offsets) in zip(texts, tokenizer.encode_batch(texts), found, strict=True):
            assert ids.dtype == offsets.dtype == np.int32 and offsets.shape == (len(ids), 2)
            np.testing.assert_array_equal(ids, expected)
            starts, ends = offsets.T
            assert (starts >= 0).all() and (starts <= ends).all() and (ends <= len(text)).all()
            assert (np.diff(starts) >= 0).all() and (np.diff(ends) >= 0).all()

    check()


def plainly(text, kind):
    """What of a text its tokens spell, by the kind's own normalisation."""
    text = unicodedata.normalize("NFKC" if kind in ("unigram", "sentencepiece_bpe") else "NFD", text)
    return "".join(c for c in text if not c.isspace() and unicodedata.category(c) != "Mn").lower()


def test_offsets_are_those_of_the_pieces(tokenizer):
    """A piece spells the characters that it is said to come from."""
    text = (
        "  The na\u00efve  class, re\u0301sume\u0301 of\u00a0Paris\n(unbelievably) 3.5% ... \U0001f600 \u65e5 New York"
    )
    ((ids, offsets),) = tokenizer.encode_with_offsets([text])
    spelled = 0
    for i, (start, end) in zip(ids.tolist(), offsets.tolist(), strict=True):
        piece = tokenizer.piece(i).removeprefix("##").removesuffix("</w>").replace("\u2581", " ")
        if tokenizer.tables.special[i] or (tokenizer.kind == "byte_bpe" and not text[start:end].isascii()):
            continue
        piece = tokenizer.decode([i]) if tokenizer.kind == "byte_bpe" else piece
        assert plainly(piece, tokenizer.kind) == plainly(text[start:end], tokenizer.kind)
        spelled += bool(piece.strip())
    assert spelled > 5
    hidden = set(itertools.chain(*(range(start, end) for start, end in offsets.tolist())))
    assert all(text[place].isspace() or text[place] == "\u0301" for place in set(range(len(text))) - hidden)


def test_the_bytes_of_a_character_have_its_place():
    """Also where one character becomes several pieces, of which sentencepiece places the last alone."""
    made = tok.train(["a \u00bd b 1 2 \u2044 c " * 9], "unigram", 60, True, 0)
    ((ids, offsets),) = made.encode_with_offsets(["c \u00bd\u00bd \U0001f600\u00bd"])
    owners = [{k for k, (start, end) in enumerate(offsets.tolist()) if start <= place < end} for place in (2, 3, 6)]
    assert all(len(owner) == 3 for owner in owners) and len(set.union(*owners)) == 9
    byte_bpe = tok.train(TEXTS, "byte_bpe", 300, True, 0)
    ((ids, offsets),) = byte_bpe.encode_with_offsets(["x\U0001f600"])
    assert offsets.tolist() == [[0, 1], *[[1, 2]] * 4]


def flags_in_loops(text, tokenizer, document_end):
    """Ids and flags of a document, a token at a time."""
    ids, flags, base, found = [], [], 0, entities.spans(text)
    for sentence in sentences.split(text):
        ((piece_ids, offsets),) = tokenizer.encode_with_offsets([sentence])
        started = set()
        for start, end in offsets.tolist():
            mine = {k for k, span in enumerate(found) if base + start < span[1] and base + end > span[0]}
            flags.append((ENTITY if mine else 0) | (ENTITY_START if mine - started else 0))
            started |= mine
        ids += piece_ids.tolist()
        if len(piece_ids):
            flags[-1] |= SENTENCE_END
        base += len(sentence)
    if ids and document_end is not None:
        flags[-1] &= ~SENTENCE_END
        ids, flags = [*ids, document_end], [*flags, SENTENCE_END]
    return ids, flags


def test_flags_are_those_of_plain_loops(tokenizer):
    @settings(deadline=None, max_examples=60)
    @given(st.lists(MIXED | WORDS, max_size=4), st.sampled_from([None, 0]))
    def check(texts, document_end):
        encoded = flagged.encode(texts, tokenizer, document_end=document_end, flag_entities=True)
        without = flagged.encode(texts, tokenizer, document_end=document_end, flag_entities=False)
        assert len(encoded) == len(texts)
        for text, (ids, flags), (plain_ids, plain_flags) in zip(texts, encoded, without, strict=True):
            expected = flags_in_loops(text, tokenizer, document_end)
            assert (ids.tolist(), flags.tolist()) == expected
            np.testing.assert_array_equal(plain_ids, ids)
            np.testing.assert_array_equal(plain_flags, flags & SENTENCE_END)

    check()


def test_flagged_tokens_spell_the_entities(tokenizer):
    """Runs of flagged tokens are what the tokenizer gives for the entities by themselves, after a space."""

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.tuples(st.sampled_from(PLAIN), st.sampled_from(NAMES)), max_size=8))
    def check(parts):
        text = "".join(f" {filler} {entity}" for filler, entity in parts)
        ((ids, flags),) = flagged.encode([text], tokenizer, document_end=None, flag_entities=True)
        runs = []
        for i, flag in zip(ids.tolist(), flags.tolist(), strict=True):
            if flag & ENTITY_START:
                runs.append([])
            if flag & ENTITY:
                runs[-1].append(i)
        found = [text[start:end] for start, end in entities.spans(text)]
        expected = [tokenizer.encode(" x " + entity)[len(tokenizer.encode(" x")) :].tolist() for entity in found]
        blank = {i for i in set(itertools.chain(*expected)) if not tokenizer.piece(i).strip("\u2581\u0120")}
        for run, alone in zip(runs, expected, strict=True):  # a space by itself in front belongs to no entity
            assert run == list(itertools.dropwhile(blank.__contains__, alone))

    check()


class Whole(fakes.Tokenizer):
    """Token 7 is a sentence."""

    def encode_with_offsets(self, texts):
        return [(np.array([7], np.int32), np.array([[0, len(text)]], np.int32)) for text in texts]


def test_entities_are_cut_at_the_ends_of_sentences():
    """The U.S. Army is one name, but a sentence seems to end inside of it."""
    text = "the U.S. Army left"
    assert entities.spans(text) == [(4, 13)] and sentences.split(text) == ["the U.S.", " Army left"]
    ((ids, flags),) = flagged.encode([text], Whole(), document_end=None, flag_entities=True)
    assert ids.tolist() == [7, 7] and flags.tolist() == [SENTENCE_END | ENTITY_START | ENTITY] * 2


def test_documents_without_text_have_no_flags():
    for flag_entities in (False, True):
        options = {"document_end": 5, "flag_entities": flag_entities}
        assert flagged.encode([], fakes.Tokenizer(), **options) == []
        encoded = flagged.encode(["", "none", "1 2"], fakes.Tokenizer(), **options)
        assert [ids.tolist() for ids, _ in encoded] == [[], [], [1, 2, 5]]
        assert [len(flags) for _, flags in encoded] == [0, 0, 3]
