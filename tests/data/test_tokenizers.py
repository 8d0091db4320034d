"""Tokenizers: round trips, determinism, tables, and files of all sorts."""

import io
import json
import os
import pathlib
import subprocess
import sys
from pydoc_data.topics import topics

import numpy as np
import pytest
import sentencepiece
import tokenizers as hf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloze import storage
from cloze.data import tokenizer_models as tm
from cloze.data import tokenizers as tok
from cloze.errors import ConfigError, DataError

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXTS = [topics[name] for name in ("assignment", "calls", "class", "exceptions", "if", "import", "strings")]
SIZE = 600
SENTINELS = 4
# Text that spells special tokens must stay text; accents, other scripts and emoji must not break anything.
HARD = ["[MASK] [CLS] <s> </s> <pad> <unk> <|endoftext|> <eos> <extra_id_0>", "na\u00efve \u65e5\u672c \U0001f600", ""]


def train(kind, sentinels=SENTINELS, texts=TEXTS, vocab_size=SIZE, lowercase=True):
    return tok.train(texts, kind, vocab_size, lowercase, sentinels)


@pytest.fixture(scope="module", params=tok.KINDS)
def tokenizer(request):
    return train(request.param)


# --- encoding ---


def test_ids_are_text_ids_in_the_vocabulary(tokenizer):
    for ids in tokenizer.encode_batch(TEXTS + HARD):
        assert ids.dtype == np.int32 and ids.ndim == 1
        assert not np.isin(ids, tokenizer.tables.sentinels).any()
        special = set(np.flatnonzero(tokenizer.tables.special)) - {tokenizer.tables.unk}
        assert not special & set(ids.tolist())
    assert len(tokenizer.encode_batch([])) == 0
    assert tokenizer.encode("").shape == (0,)


def test_encode_batch_equals_encode(tokenizer):
    texts = TEXTS + HARD
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        np.testing.assert_array_equal(tokenizer.encode(text), ids)


def test_learned_pieces_shorten_text(tokenizer):
    characters, tokens = sum(map(len, TEXTS)), sum(map(len, tokenizer.encode_batch(TEXTS)))
    assert tokens < characters / 2


@pytest.fixture(scope="module")
def byte_bpe():
    return train("byte_bpe")


@settings(deadline=None, max_examples=200)
@given(text=st.text())
def test_byte_bpe_gives_back_any_text(byte_bpe, text):
    assert byte_bpe.decode(byte_bpe.encode(text)) == text


def test_byte_bpe_gives_back_text_that_spells_specials(byte_bpe):
    for text in HARD + TEXTS:
        assert byte_bpe.decode(byte_bpe.encode(text)) == text


WORDS = sorted(
    {w for t in TEXTS for w in t.split() if w.isascii() and w.isalpha() and sum(x.count(w) for x in TEXTS) > 9}
)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.sampled_from(WORDS + [".", ",", "(", ")"]), min_size=1, max_size=12))
def test_plain_text_round_trips_up_to_normalisation(tokenizer, words):
    text = " ".join(words)
    ids = tokenizer.encode(text)
    if tokenizer.kind == "word":  # knows the frequent words alone
        pieces = {tokenizer.piece(i) for i in range(tokenizer.vocab_size)}
        text = " ".join(word for word in words if word.lower() in pieces)
        ids = tokenizer.encode(text)
    decoded = tokenizer.decode(ids)
    expected = text.lower() if tokenizer.kind in ("wordpiece", "bpe", "word") else text
    # `word` keeps runs of punctuation together, so that only spacing may differ there.
    assert decoded.replace(" ", "") == expected.replace(" ", "")
    if tokenizer.kind != "word":
        assert decoded == expected


def test_case_is_kept_unless_asked_otherwise():
    for kind in ("wordpiece", "bpe", "word"):
        folds, keeps = train(kind), train(kind, lowercase=False)
        assert folds.decode(folds.encode("The")) == "the"
        assert keeps.decode(keeps.encode("The")) == "The"


def test_long_lines_are_learned_from():
    """sentencepiece drops lines over its limit unless they are cut."""
    line = "quokka wombat " * 5000
    for kind in ("unigram", "sentencepiece_bpe"):
        trained = train(kind, texts=[line, "a short line of text"], vocab_size=60)
        assert [trained.piece(i) for i in trained.encode("wombat quokka")] == ["\u2581wombat", "\u2581quokka"]


@pytest.mark.parametrize("kind", ["wordpiece", "byte_bpe", "bpe"])
def test_very_long_words_are_learned_from_in_parts(kind):
    """Uncut, the library takes time that grows with the square of a word's length."""
    letters = np.random.default_rng(0).choice(list("abcdefghij"), 2600)
    word = "".join(letters)
    parts = [word[:1024], word[1024:2048], word[2048:]]
    cut = train(kind, texts=["a rose", *parts, "is"])
    for whole in (["a rose", word, "is"], [f"a rose {word} is"]):
        trained = train(kind, texts=whole)
        assert [trained.piece(i) for i in trained.encode(word[:40])] == [cut.piece(i) for i in cut.encode(word[:40])]
    assert list(tm._cut_words([f"a {word}\tb", " " * 1030])) == [
        "a " + parts[0], parts[1], parts[2] + "\tb", " " * 1024, " " * 6
    ]  # fmt: skip
    assert list(tm._cut_words(TEXTS)) == TEXTS


# --- decoding ---


def test_decode_shows_sentinels_and_hides_the_rest(tokenizer):
    tables, words = tokenizer.tables, tokenizer.encode("the class").tolist()
    ids = [*words, tables.sentinels[0], *words, tables.sentinels[1]]
    specials = [i for i in (tables.pad, tables.cls, tables.eos, tables.mask) if i is not None]
    text = tokenizer.decode(words)
    gap = "" if tokenizer.kind == "byte_bpe" else " "
    expected = gap.join([text, "<extra_id_0>", text, "<extra_id_1>"])
    assert tokenizer.decode(ids) == expected
    assert tokenizer.decode(np.array(specials + ids + specials, np.int32)) == expected
    shown = tokenizer.decode(specials + ids, skip_special=False)
    assert shown == gap.join([*map(tokenizer.piece, specials), expected])
    for bad in (-1, tokenizer.vocab_size):
        with pytest.raises(ValueError, match="outside the vocabulary"):
            tokenizer.decode([bad])


def test_each_id_has_a_piece_of_its_own(tokenizer):
    pieces = [tokenizer.piece(i) for i in range(tokenizer.vocab_size)]
    assert len(set(pieces)) == tokenizer.vocab_size
    for bad in (-1, tokenizer.vocab_size):
        with pytest.raises(IndexError):
            tokenizer.piece(bad)


# --- tables ---


def test_tables_of_trained_tokenizers(tokenizer):
    tables = tokenizer.tables
    size = tokenizer.vocab_size
    assert tables.vocab_size == size <= SIZE
    assert tables.special.shape == tables.starts_word.shape == (size,)
    assert tables.sentinels.dtype == np.int32
    assert tables.sentinels.tolist() == [size - 1, size - 2, size - 3, size - 4]
    assert [tokenizer.piece(i) for i in tables.sentinels] == [f"<extra_id_{i}>" for i in range(SENTINELS)]
    bert = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
    last = size - SENTINELS - 1
    expected = {
        "wordpiece": bert,
        "word": bert | {"eos": 5},
        "byte_bpe": {"bos": last, "eos": last},
        "bpe": {"unk": 0, "eos": 1},
        "unigram": {"pad": 0, "eos": 1, "unk": 2},
        "sentencepiece_bpe": {"pad": 0, "eos": 1, "unk": 2},
    }[tokenizer.kind]
    roles = ("pad", "unk", "bos", "eos", "cls", "sep", "mask")
    assert {role: getattr(tables, role) for role in roles} == dict.fromkeys(roles) | expected
    assert set(np.flatnonzero(tables.special)) == {*expected.values(), *tables.sentinels.tolist()}


def test_words_start_where_they_start(tokenizer):
    """Every word of a line starts with a piece that says so, and has no second one."""
    words = ["the", "class", "statement", "unbelievably", "expression"]
    ids = tokenizer.encode(" " + " ".join(words))
    starts = tokenizer.tables.starts_word[ids]
    if tokenizer.kind == "bpe":  # only knows where words end: every piece starts one
        assert starts.all()
        ends = [tokenizer.piece(i).endswith("</w>") for i in ids]
        assert ends[-1] and sum(ends) == len(words)
    else:
        assert starts[0] and starts.sum() == len(words)
    if tokenizer.kind != "word":
        assert len(ids) > len(words)  # or the count above says nothing
    special = np.flatnonzero(tokenizer.tables.special)
    assert not tokenizer.tables.starts_word[np.setdiff1d(special, tokenizer.tables.unk or 0)].any()


def test_vocab_size_is_what_the_text_supports(tokenizer):
    """Even the 256 bytes of byte_bpe and all specials leave most of 5000 ids unused."""
    small = train(tokenizer.kind, texts=["a rose is a rose is a rose"], vocab_size=5000, sentinels=2)
    assert small.vocab_size < 320
    assert small.tables.sentinels.tolist() == [small.vocab_size - 1, small.vocab_size - 2]


@pytest.mark.parametrize("kind", [kind for kind in tok.KINDS if kind != "byte_bpe"])
def test_training_refuses_text_of_which_nothing_is_left(kind):
    with pytest.raises(DataError, match=f"tokenizer.kind={kind} leaves nothing of it"):
        train(kind, texts=["\x07 \x07", "\u200b"])
    assert train("byte_bpe", texts=["\x07 \x07"]).vocab_size > 256
    train(kind, texts=["\x07", "a rose is a rose is a rose"])


def test_training_refuses_what_cannot_work():
    with pytest.raises(ConfigError, match="sentinels=600"):
        train("word", sentinels=600)
    with pytest.raises(DataError, match="no text"):
        train("word", texts=iter(["", " \n"]))
    for kind in ("wordpiece", "byte_bpe", "bpe", "unigram", "sentencepiece_bpe"):
        with pytest.raises(ConfigError, match="too few for this text"):
            train(kind, vocab_size=24)


# --- determinism ---


def test_training_repeats_in_other_processes(tokenizer):
    """Other hash seeds and another number of threads must give the same bytes."""
    code = (
        "import json, sys\nfrom data import tokenizers\n"
        f"print(tokenizers.train(json.load(sys.stdin), {tokenizer.kind!r}, {SIZE}, True, {SENTINELS}).hash)"
    )
    for seed, threads in (("1", "1"), ("2", "2")):
        environment = os.environ | {"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, input=json.dumps(TEXTS), capture_output=True, text=True)
        assert done.stdout.strip() == tokenizer.hash, done.stderr


def test_hash_tells_tokenizers_apart():
    trained = [
        train("unigram"),
        train("unigram", sentinels=3),
        train("sentencepiece_bpe"),
        train("unigram", 4, TEXTS[1:]),
    ]
    assert len({t.hash for t in trained}) == 4


# --- files ---


def test_saved_tokenizers_load_equal(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "deep" / "folder")
    loaded = tok.load(tmp_path / "deep" / "folder", kind=tokenizer.kind)
    assert (loaded.hash, loaded.kind, loaded.vocab_size) == (tokenizer.hash, tokenizer.kind, tokenizer.vocab_size)
    for field in ("pad", "unk", "bos", "eos", "cls", "sep", "mask"):
        assert getattr(loaded.tables, field) == getattr(tokenizer.tables, field)
    for field in ("sentinels", "special", "starts_word"):
        np.testing.assert_array_equal(getattr(loaded.tables, field), getattr(tokenizer.tables, field))
    for mine, theirs in zip(tokenizer.encode_batch(TEXTS + HARD), loaded.encode_batch(TEXTS + HARD), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    ids = tokenizer.encode(TEXTS[0])
    assert loaded.decode(ids) == tokenizer.decode(ids)


def test_a_bare_model_file_loads_like_its_directory(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (file,) = [path for path in tmp_path.iterdir() if "meta" not in path.name]
    assert tok.load(file, sentinels=SENTINELS).hash == tokenizer.hash
    assert tok.load(file).vocab_size == tokenizer.vocab_size - SENTINELS
    (tmp_path / "tokenizer_meta.json").unlink()
    assert tok.load(tmp_path, sentinels=SENTINELS).hash == tokenizer.hash
    other = next(kind for kind in tok.KINDS if kind != tokenizer.kind)
    with pytest.raises(DataError, match=f"is a {tokenizer.kind} tokenizer, expected {other}"):
        tok.load(file, kind=other)


@pytest.mark.parametrize(
    "changes",
    [{"model": "../tokenizer.json"}, {"sentinels": 10**12}, {"roles": {"pad": 10**6}}, {"roles": {"pad": "0"}}],
)
def test_a_description_that_no_save_has_written_is_refused(changes, tmp_path):
    tok.train(["a b c"], "word", 12, lowercase=True, sentinels=0).save(tmp_path)
    file = tmp_path / "tokenizer_meta.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(DataError, match="tokenizer_meta.json is damaged"):
        tok.load(tmp_path)


def test_truncated_files_are_refused(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (file,) = [path for path in tmp_path.iterdir() if "meta" not in path.name]
    whole = file.read_bytes()
    bare = tmp_path / f"bare{file.suffix}"
    for length in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        bare.write_bytes(whole[:length])
        with pytest.raises(DataError, match=f"{bare} is not a whole"):
            tok.load(bare)


def test_a_changed_file_in_a_saved_directory_is_refused(tmp_path):
    train("word").save(tmp_path)
    train("word", texts=TEXTS[1:]).save(tmp_path / "other")
    (tmp_path / "tokenizer.json").write_bytes((tmp_path / "other" / "tokenizer.json").read_bytes())
    with pytest.raises(DataError, match="tokenizer.json (has changed|holds)"):
        tok.load(tmp_path)
    meta = storage.read_checked(tmp_path / "tokenizer_meta.json")
    del meta["file"]  # as earlier versions wrote it
    storage.write_checked(tmp_path / "tokenizer_meta.json", meta)
    with pytest.raises(DataError, match="hash differs"):
        tok.load(tmp_path)
    (tmp_path / "tokenizer_meta.json").write_text('{"model": 3}')
    with pytest.raises(DataError, match="tokenizer_meta.json is damaged"):
        tok.load(tmp_path)


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no tokenizer at .*nothing\.json"):
        tok.load(tmp_path / "nothing.json")
    with pytest.raises(DataError, match="holds no tokenizer: expected"):
        tok.load(tmp_path)
    (tmp_path / "x.json").write_text('{"text": "some other JSON"}')
    with pytest.raises(DataError, match=r"x\.json is not a whole tokenizer\.json"):
        tok.load(tmp_path / "x.json")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    with pytest.raises(DataError, match="not a whole sentencepiece model.*ends in .json"):
        tok.load(tmp_path / "vocab.txt")


def _write(tmp_path, model, specials, pre_tokenizer=None, decoder=None):
    made = hf.Tokenizer(model)
    if pre_tokenizer:
        made.pre_tokenizer = pre_tokenizer
    if decoder:
        made.decoder = decoder
    made.add_special_tokens(specials)
    made.enable_truncation(3)
    made.enable_padding(length=3)
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def _flags(loaded, mask):
    return [loaded.piece(i) for i in np.flatnonzero(mask)]


def test_a_file_like_robertas(tmp_path):
    vocabulary = {
        p: i for i, p in enumerate(["<s>", "<pad>", "</s>", "<unk>", "a", "\u0120", "\u0120a", "\u010a", "<mask>"])
    }
    model = hf.models.BPE(vocabulary, [("\u0120", "a")])
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    file = _write(
        tmp_path, model, specials, hf.pre_tokenizers.ByteLevel(add_prefix_space=False), hf.decoders.ByteLevel()
    )
    loaded = tok.load(file)
    t = loaded.tables
    assert loaded.kind == "byte_bpe"
    assert (t.bos, t.cls, t.pad, t.eos, t.sep, t.unk, t.mask) == (0, 0, 1, 2, 2, 3, 8)
    assert _flags(loaded, t.special) == specials
    assert _flags(loaded, t.starts_word) == ["\u0120", "\u0120a", "\u010a"]
    assert loaded.encode("a a a a a").tolist() == [4, 6, 6, 6, 6]  # the file's truncation does not apply


def test_a_file_like_t5s(tmp_path):
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581a", -1.0), ("b", -2.0), ("\u2581", -3.0)]
    model = hf.models.Unigram(pieces, unk_id=2, byte_fallback=False)
    specials = ["<pad>", "</s>", "<unk>", "<extra_id_2>", "<extra_id_1>", "<extra_id_0>"]
    file = _write(tmp_path, model, specials, hf.pre_tokenizers.Metaspace(), hf.decoders.Metaspace())
    loaded = tok.load(file, sentinels=100)  # has its own: none are added
    t = loaded.tables
    assert (loaded.kind, loaded.vocab_size) == ("unigram", 9)
    assert (t.pad, t.eos, t.unk, t.bos, t.cls, t.sep, t.mask) == (0, 1, 2, None, None, None, None)
    assert t.sentinels.tolist() == [8, 7, 6]
    assert _flags(loaded, t.special) == specials
    assert _flags(loaded, t.starts_word) == ["\u2581a", "\u2581"]
    assert loaded.decode([3, 4, 8, 3, 1]) == "ab <extra_id_0> a"


def test_a_file_like_berts(tmp_path):
    pieces = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b", "!"]
    model = hf.models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]")
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    loaded = tok.load(_write(tmp_path, model, specials, hf.pre_tokenizers.BertPreTokenizer(), hf.decoders.WordPiece()))
    t = loaded.tables
    assert (loaded.kind, t.pad, t.unk, t.cls, t.sep, t.mask, t.bos, t.eos) == ("wordpiece", 0, 2, 3, 4, 5, None, None)
    assert _flags(loaded, t.special) == specials
    assert _flags(loaded, t.starts_word) == ["[unused0]", "[UNK]", "a", "!"]
    assert loaded.encode("ab a!").tolist() == [6, 7, 6, 8]


def test_files_like_llamas_and_gpt2s_and_gpt1s(tmp_path):
    llama = hf.models.BPE({"<unk>": 0, "<s>": 1, "</s>": 2, "\u2581": 3, "a": 4, "\u2581a": 5}, [("\u2581", "a")])
    loaded = tok.load(_write(tmp_path, llama, ["<unk>", "<s>", "</s>"], hf.pre_tokenizers.Metaspace()))
    t = loaded.tables
    assert (loaded.kind, t.unk, t.bos, t.eos, t.cls, t.sep, t.pad) == ("sentencepiece_bpe", 0, 1, 2, None, None, None)
    assert _flags(loaded, t.starts_word) == ["\u2581", "\u2581a"]
    gpt2 = hf.models.BPE({"a": 0, "b": 1}, [])
    loaded = tok.load(_write(tmp_path, gpt2, ["<|endoftext|>"], hf.pre_tokenizers.ByteLevel(add_prefix_space=False)))
    assert (loaded.kind, loaded.tables.bos, loaded.tables.eos, loaded.tables.pad) == ("byte_bpe", 2, 2, None)
    gpt1 = hf.models.BPE({"a": 0, "b</w>": 1, "ab</w>": 2}, [("a", "b</w>")], end_of_word_suffix="</w>")
    loaded = tok.load(_write(tmp_path, gpt1, [], hf.pre_tokenizers.BertPreTokenizer()))
    assert (loaded.kind, loaded.encode("ab aab").tolist()) == ("bpe", [2, 0, 2])
    with pytest.raises(DataError, match="neither on bytes"):
        tok.load(_write(tmp_path, hf.models.BPE({"a": 0}, []), []))


def test_stated_roles_win_and_are_kept(tmp_path):
    """As Qwen's: the file does not say which of its tokens pads and which ends a turn."""
    gpt2 = hf.models.BPE({"a": 0, "b": 1, "c": 5}, [])  # the specials get ids 3 and 4; 2 has no piece
    byte_level = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    file = _write(tmp_path, gpt2, ["<|endoftext|>", "<|im_end|>"], byte_level, hf.decoders.ByteLevel())
    model = tok.load(file).model
    made = tok.Tokenizer(model, 2, {"pad": 3, "eos": 4, "bos": None})
    made.save(tmp_path / "saved")
    for tokenizer in (made, tok.load(tmp_path / "saved")):
        t = tokenizer.tables
        assert (t.pad, t.eos, t.bos, t.sentinels.tolist()) == (3, 4, None, [7, 6])
        assert (tokenizer.hash, tokenizer.piece(2)) == (made.hash, "")
        assert np.flatnonzero(~tokenizer.has_piece).tolist() == [2]
        assert tokenizer.decode([0, 2, 1, 4]) == "ab"
    assert tok.Tokenizer(model, 2, {}).hash != made.hash


def test_text_that_spells_a_special_piece_is_text(tmp_path):
    """A Unigram model has probabilities for its special pieces, a converted BPE has merges that make them."""
    pieces = [("<pad>", 0.0), ("<unk>", 0.0), ("\u2581", -3.0), *((c, -2.0) for c in "<>adp")]
    unigram = hf.models.Unigram(pieces, unk_id=1, byte_fallback=False)
    loaded = tok.load(_write(tmp_path, unigram, ["<pad>"], hf.pre_tokenizers.Metaspace()))
    assert [loaded.piece(i) for i in loaded.encode("<pad>")] == ["\u2581", *"<pad>"]
    assert (loaded.tables.pad, loaded.piece(0)) == (0, "<pad>")
    vocabulary = {piece: i for i, piece in enumerate(["<s>", "<", "s>", "s", ">", "\u2581"])}
    bpe = hf.models.BPE(vocabulary, [("s", ">"), ("<", "s>")])
    loaded = tok.load(_write(tmp_path, bpe, ["<s>"], hf.pre_tokenizers.Metaspace()))
    assert [loaded.piece(i) for i in loaded.encode("<s>")] == ["\u2581", "<", "s>"]


def test_a_sentencepiece_model_with_its_own_names(tmp_path):
    """As ALBERT's: sentencepiece, but [CLS], [SEP] and [MASK] as pieces."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in TEXTS for line in text.splitlines()),
        model_writer=written,
        vocab_size=200,
        hard_vocab_limit=False,
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        control_symbols=["[CLS]", "[SEP]"],
        user_defined_symbols=["[MASK]"],
        minloglevel=2,
    )
    (tmp_path / "spiece.model").write_bytes(written.getvalue())
    loaded = tok.load(tmp_path)
    t = loaded.tables
    assert (t.pad, t.unk, t.bos, t.eos) == (0, 1, None, None)
    assert [loaded.piece(i) for i in (t.cls, t.sep, t.mask)] == ["[CLS]", "[SEP]", "[MASK]"]
    assert set(_flags(loaded, t.special)) == {"<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"}
    assert t.starts_word.sum() == sum(loaded.piece(i).startswith("\u2581") for i in range(loaded.vocab_size))


def test_saved_meta_is_small_json(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    meta = json.loads((tmp_path / "tokenizer_meta.json").read_text())
    assert meta["kind"] == tokenizer.kind and meta["sentinels"] == SENTINELS and meta["hash"] == tokenizer.hash
    assert len(list(tmp_path.iterdir())) == 2


def test_byte_bpe_with_a_mask_token_is_robertas():
    made = tok.train(TEXTS, "byte_bpe", SIZE, False, 0, mask_token=True)
    t = made.tables
    assert (t.bos, t.pad, t.eos, t.unk, t.cls, t.sep, t.mask) == (0, 1, 2, 3, 0, 2, made.vocab_size - 1)
    text = "Literal <mask> and </s> stay text."
    ids = made.encode(text)
    assert made.decode(ids) == text and not t.special[ids].any()


@pytest.mark.parametrize("kind", ["unigram", "sentencepiece_bpe"])
def test_sentencepiece_with_a_mask_token_has_what_encoders_need(kind):
    made = tok.train(TEXTS, kind, SIZE, False, 0, mask_token=True)
    t = made.tables
    assert (t.pad, t.eos, t.unk, t.cls, t.sep, t.mask) == (0, 1, 2, 3, 4, 5)
    ids = made.encode("if [MASK] and [CLS] stay text")
    assert not {t.cls, t.sep, t.mask} & set(ids.tolist()) and t.special[[t.cls, t.sep, t.mask]].all()
