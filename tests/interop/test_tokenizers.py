"""Hugging Face tokenizer files without transformers: small vocabularies whose ids are known by hand, and errors."""

import functools
import io
import json
from pydoc_data.topics import topics

import numpy as np
import pytest
import sentencepiece
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from cloze.data import tokenizers as tok
from cloze.errors import DataError
from cloze.interop.tokenizers import load_hf, save_hf

FAIRSEQ = ["<s>", "<pad>", "</s>", "<unk>"]


def put(directory, **files):
    """Writes files; a double underscore in a name stands for a dot, and what is not text is written as JSON."""
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (directory / name.replace("__", ".")).write_text(text, encoding="utf-8")


def put_bpe(directory, pieces, merges):
    put(directory, vocab__json={piece: i for i, piece in enumerate(pieces)})
    put(directory, merges__txt="\n".join(["#version: 0.2", *merges]) + "\n")


def roles(tokenizer):
    found = {role: getattr(tokenizer.tables, role) for role in tok.ROLES}
    return {role: i for role, i in found.items() if i is not None}


def pieces(tokenizer, text):
    return [tokenizer.piece(i) for i in tokenizer.encode(text)]


BERT = "[PAD] [UNK] [CLS] [SEP] [MASK] the cafe café ##s the! ! The [ ] mask 中 文".split()


@functools.cache
def spiece(**settings):
    settings = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    written = io.BytesIO()
    lines = topics["calls"].splitlines() + ["Déjà vu, a naïve CAFÉ costs 1,000", "日本語"] * 9
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=written,
        hard_vocab_limit=False,
        minloglevel=2,
        **{"vocab_size": 250} | settings,
    )
    return written.getvalue()


def t5_directory(tmp_path):
    (tmp_path / "spiece.model").write_bytes(spiece(pad_id=0, eos_id=1, unk_id=2, bos_id=-1))
    put(tmp_path, config__json={"model_type": "t5"})
    return tmp_path


# --- families ---


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        ({}, "The CAFÉS 中文!", ["the", "cafe", "##s", "中", "文", "!"]),
        ({}, "[MASK]", ["[", "mask", "]"]),
        ({}, "\u200bthe\x00\x07 zebra", ["the", "[UNK]"]),
        ({"do_lower_case": False}, "The café", ["The", "café"]),
        ({"strip_accents": False}, "CAFÉ", ["café"]),
        ({"tokenize_chinese_chars": False}, "中文", ["[UNK]"]),
    ],
)
def test_bert(tmp_path, options, text, expected):
    put(tmp_path, vocab__txt="\n".join(BERT) + "\n", config__json={"model_type": "bert"})
    put(tmp_path, tokenizer_config__json=options)
    tokenizer = load_hf(tmp_path)
    assert pieces(tokenizer, text) == expected
    assert roles(tokenizer) == {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
    assert (tokenizer.kind, tokenizer.vocab_size) == ("wordpiece", len(BERT))


def test_gpt1_ends_words(tmp_path):
    put_bpe(tmp_path, ["<unk>", "a", "b", "a</w>", "b</w>", "ab</w>", "é</w>"], ["a b</w>"])
    put(tmp_path, config__json={"model_type": "openai-gpt"})
    tokenizer = load_hf(tmp_path)
    assert tokenizer.encode("AB aab, bÉ").tolist() == [5, 1, 5, 0, 2, 0]  # accents go, so that é is e: unknown
    assert (tokenizer.kind, roles(tokenizer)) == ("bpe", {"unk": 0})
    assert tokenizer.decode([5, 1, 5]) == "ab aab"


def test_gpt2_spells_bytes(tmp_path):
    put_bpe(tmp_path, ["a", "b", "\u0120", "\u0120a", "\u00c3", "\u00a9", "<|endoftext|>"], ["\u0120 a"])
    put(tmp_path, config__json={"model_type": "gpt2"}, tokenizer_config__json={"pad_token": "<pad>"})
    tokenizer = load_hf(tmp_path)
    assert tokenizer.encode("a ab  é").tolist() == [0, 3, 1, 2, 2, 4, 5]
    assert (tokenizer.kind, tokenizer.vocab_size) == ("byte_bpe", 8)
    assert roles(tokenizer) == {"bos": 6, "eos": 6, "pad": 7}  # the end of text is never unknown text
    assert tokenizer.decode([0, 3, 6, 7]) == "a a"


def test_roberta_and_deberta_differ_in_roles(tmp_path):
    for model_type, names, expected in (
        ("roberta", [*FAIRSEQ, "<mask>"], {"bos": 0, "pad": 1, "eos": 2, "unk": 3, "cls": 0, "sep": 2, "mask": 4}),
        (
            "deberta",
            ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"],
            {"bos": 0, "pad": 1, "eos": 2, "unk": 3, "cls": 0, "sep": 2, "mask": 4},
        ),
    ):
        put_bpe(tmp_path, [*names, "a", "\u0120"], [])
        put(tmp_path, config__json={"model_type": model_type})
        tokenizer = load_hf(tmp_path)
        assert roles(tokenizer) == expected
        assert tokenizer.encode("a a").tolist() == [5, 6, 5]


def test_qwen2_parts_digits_and_composes_accents(tmp_path):
    put_bpe(tmp_path, ["1", "2", "12", "\u00c3", "\u00a9", "<|endoftext|>"], ["1 2"])
    put(tmp_path, config__json={"model_type": "qwen2"}, tokenizer_config__json={"eos_token": "<|im_end|>"})
    tokenizer = load_hf(tmp_path)
    assert tokenizer.encode("12e\u0301").tolist() == [0, 1, 3, 4]
    assert roles(tokenizer) == {"pad": 5, "eos": 6}


def test_t5_has_sentinels_above_its_pieces(tmp_path):
    tokenizer = load_hf(t5_directory(tmp_path))
    base = tokenizer.vocab_size - 100
    assert tokenizer.tables.sentinels.tolist() == [base + 99 - i for i in range(100)]
    assert roles(tokenizer) == {"pad": 0, "eos": 1, "unk": 2}
    bare = tok.load(tmp_path / "spiece.model", sentinels=100)  # sentencepiece itself
    for text in [topics["if"], "Déjà  vu\n 1,000 日本語 \U0001f600 </s><extra_id_0>", ""]:
        assert tokenizer.encode(text).tolist() == bare.encode(text).tolist()


def test_albert_lowers_and_xlnet_does_not(tmp_path):
    controls = {"albert": ("[CLS]", "[SEP]", "[MASK]"), "xlnet": ("<cls>", "<sep>", "<pad>", "<mask>")}
    expected = {
        "albert": {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4, "bos": 2, "eos": 3},
        "xlnet": {"unk": 0, "bos": 1, "eos": 2, "cls": 3, "sep": 4, "pad": 5, "mask": 6},
    }
    ids = {
        "albert": dict(pad_id=0, unk_id=1, bos_id=-1, eos_id=-1),
        "xlnet": dict(unk_id=0, bos_id=1, eos_id=2, pad_id=-1),
    }
    for model_type, symbols in controls.items():
        (tmp_path / "spiece.model").write_bytes(spiece(control_symbols=symbols, **ids[model_type]))
        put(tmp_path, config__json={"model_type": model_type})
        tokenizer = load_hf(tmp_path)
        assert roles(tokenizer) == expected[model_type]
        same = np.array_equal(tokenizer.encode("THE Call"), tokenizer.encode("the call"))
        assert same == (model_type == "albert")
        assert np.array_equal(tokenizer.encode("déjà ``x''"), tokenizer.encode('deja "x"'))


def test_llama_falls_back_to_bytes(tmp_path):
    settings = dict(model_type="bpe", byte_fallback=True, vocab_size=420, normalization_rule_name="identity")
    settings["remove_extra_whitespaces"] = False
    (tmp_path / "tokenizer.model").write_bytes(spiece(unk_id=0, bos_id=1, eos_id=2, pad_id=-1, **settings))
    put(tmp_path, config__json={"model_type": "mistral"})
    tokenizer = load_hf(tmp_path)
    assert (tokenizer.kind, roles(tokenizer)) == ("sentencepiece_bpe", {"unk": 0, "bos": 1, "eos": 2})
    assert pieces(tokenizer, "a\U0001f600") == ["\u2581a", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>"]
    bare = tok.load(tmp_path / "tokenizer.model")
    for text in [topics["if"], "Déjà vu 1,000 日本語 </s><s>"]:
        assert tokenizer.encode(text).tolist() == bare.encode(text).tolist()
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_xlm_roberta_counts_one_more_special_token(tmp_path):
    (tmp_path / "sentencepiece.bpe.model").write_bytes(spiece(unk_id=0, bos_id=1, eos_id=2, pad_id=-1))
    put(tmp_path, config__json={"model_type": "xlm-roberta"})
    tokenizer, bare = load_hf(tmp_path), tok.load(tmp_path)
    assert tokenizer.encode("the call").tolist() == (bare.encode("the call") + 1).tolist()
    assert roles(tokenizer) == {"bos": 0, "pad": 1, "eos": 2, "unk": 3, "cls": 0, "sep": 2, "mask": bare.vocab_size + 1}


def test_a_sentencepiece_file_of_nobody_is_read_by_sentencepiece(tmp_path):
    (tmp_path / "spiece.model").write_bytes(spiece(pad_id=0, eos_id=1, unk_id=2, bos_id=-1))
    assert load_hf(tmp_path).hash == tok.load(tmp_path).hash


# --- the small files ---


def test_tokens_above_the_vocabulary(tmp_path):
    put(tmp_path, vocab__txt="\n".join(BERT) + "\n", config__json={"model_type": "bert", "vocab_size": 99})
    size = len(BERT)
    put(tmp_path, added_tokens__json={"the cafe": size + 1, "<bos>": size})
    put(tmp_path, special_tokens_map__json={"bos_token": {"content": "<bos>", "lstrip": True}, "sep_token": "!"})
    tokenizer = load_hf(tmp_path)
    assert (tokenizer.tables.bos, tokenizer.tables.sep, tokenizer.vocab_size) == (size, BERT.index("!"), size + 2)
    assert tokenizer.encode("the cafe the").tolist() == [size + 1, BERT.index("the")]  # added, but text
    assert not tokenizer.tables.special[size + 1]
    # The newer way says the same in one file, and the other two no longer count.
    decoder = {str(size): {"content": "<bos>", "special": True}, str(size + 1): {"content": "the cafe"}}
    put(tmp_path, tokenizer_config__json={"added_tokens_decoder": decoder, "bos_token": "<bos>"})
    newer = load_hf(tmp_path)
    assert (newer.tables.bos, newer.tables.sep) == (size, BERT.index("[SEP]"))
    assert newer.encode("the cafe the").tolist() == [size + 1, BERT.index("the")]


def test_tokenizer_json_wins_and_roles_come_from_beside_it(tmp_path):
    tok.train([topics["if"]], "byte_bpe", 300, False, 0).save(tmp_path)
    put(tmp_path, vocab__txt="[UNK]\n", config__json={"model_type": "qwen2"})
    stated = {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>", "bos_token": None}
    put(tmp_path, tokenizer_config__json={"tokenizer_class": "PreTrainedTokenizerFast", **stated})
    tokenizer, trained = load_hf(tmp_path), tok.load(tmp_path)
    assert tokenizer.vocab_size == trained.vocab_size + 1
    assert roles(tokenizer) == {"pad": trained.tables.eos, "eos": trained.vocab_size}
    assert np.array_equal(tokenizer.encode(topics["if"]), trained.encode(topics["if"]))


ROBERTA = [*FAIRSEQ, "<mask>", "a", "\u0120"]
MASK = {"content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}


def put_roberta(directory, **files):
    put_bpe(directory, ROBERTA, [])
    model = json.loads((directory / "vocab.json").read_text())
    backend = Backend(models.BPE(model, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    backend.add_special_tokens([*FAIRSEQ, AddedToken(**MASK)])
    put(directory, config__json={"model_type": "roberta"}, **files)
    return backend


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer__json": True, "tokenizer_config__json": {"mask_token": "<mask>"}},
        {"tokenizer__json": True, "special_tokens_map__json": {"mask_token": MASK | {"lstrip": False}}},
        {"tokenizer_config__json": {"mask_token": MASK | {"__type": "AddedToken"}}},
        {"special_tokens_map__json": {"mask_token": MASK}},
        {"special_tokens_map__json": {"mask_token": MASK}, "added_tokens__json": {"<mask>": 4}},
        {"tokenizer_config__json": {"mask_token": "<mask>", "added_tokens_decoder": {"4": MASK}}},
    ],
)
def test_a_mask_keeps_the_space_before_it(tmp_path, files):
    backend = put_roberta(tmp_path, **{name: content for name, content in files.items() if content is not True})
    if "tokenizer__json" in files:
        backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_hf(tmp_path)
    (tmp_path / "out").mkdir()
    save_hf(tokenizer, tmp_path / "out")
    tokenizer.save(tmp_path / "kept")
    for made in (tokenizer, load_hf(tmp_path / "out"), tok.load(tmp_path / "kept")):
        assert made.encode_blanks("a <mask> a</s>").tolist() == [5, 4, 6, 5]
        assert made.encode("a <mask></s>").tolist() == [5, 6, 5]
    out = Backend.from_file(str(tmp_path / "out" / "tokenizer.json"))
    assert out.get_added_tokens_decoder()[4].lstrip and out.get_added_tokens_decoder()[4].special


@pytest.mark.parametrize("kind", ["wordpiece", "word", "byte_bpe", "unigram", "sentencepiece_bpe"])
def test_blanks_of_trained_tokenizers(kind):
    tokenizer = tok.train([topics["if"]], kind, 400, True, 0, mask_token=True)
    mask = tokenizer.piece(tokenizer.tables.mask)
    text = f"{mask} the {mask} of [SEP] </s>"
    found = tokenizer.encode_blanks(text).tolist()
    spaced = " " if kind == "byte_bpe" else ""
    before, after = tokenizer.encode(f"{spaced}the"), tokenizer.encode(f"{spaced}of [SEP] </s>")
    assert found == [tokenizer.tables.mask, *before, tokenizer.tables.mask, *after]
    with pytest.raises(ValueError, match="without a mask"):
        tok.train([topics["if"]], "bpe", 400, True, 0).encode_blanks("a")


def test_what_is_beside_a_tokenizer_goes_back(tmp_path):
    put_bpe(tmp_path, ["a", "\u0120", "<|endoftext|>", "<|end|>", "<img>"], [])
    said = {"padding_side": "left", "model_max_length": 77, "chat_template": "{{ x }}", "image_token": "<img>"}
    machine = {"name_or_path": "/home/me", "tokenizer_class": "GPT2Tokenizer"}
    put(tmp_path, tokenizer_config__json=said | machine | {"eos_token": "<|end|>", "extra_special_tokens": ["<x>"]})
    put(tmp_path, config__json={"model_type": "gpt2", "eos_token_id": [2, 3]}, chat_template__jinja="{{ y }}\n")
    put(tmp_path, generation_config__json={"eos_token_id": [3, 4], "top_p": 0.9})
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tools.jinja").write_text("é", encoding="utf-8")
    tokenizer = load_hf(tmp_path)
    assert (tokenizer.ends, tokenizer.tables.eos) == ((2, 3, 4), 3)
    tokenizer.save(tmp_path / "kept")
    kept = tok.load(tmp_path / "kept")
    assert (kept.ends, kept.carried, kept.hash) == (tokenizer.ends, tokenizer.carried, tokenizer.hash)
    save_hf(kept, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert {key: written[key] for key in said} == said and written["extra_special_tokens"] == ["<x>"]
    assert (written["tokenizer_class"], "name_or_path" in written) == ("PreTrainedTokenizerFast", False)
    for name in ("chat_template.jinja", "additional_chat_templates/tools.jinja"):
        assert (tmp_path / "out" / name).read_text(encoding="utf-8") == (tmp_path / name).read_text(encoding="utf-8")
    assert load_hf(tmp_path / "out").tables.special.tolist() == tokenizer.tables.special.tolist()
    kept.carried["../outside.jinja"] = "no"
    save_hf(kept, tmp_path / "again")
    assert not (tmp_path / "outside.jinja").exists()


def test_a_workdir_needs_no_other_files(tmp_path):
    tokenizer = load_hf(t5_directory(tmp_path))
    tokenizer.save(tmp_path / "saved")
    loaded = tok.load(tmp_path / "saved", kind="unigram")
    assert (loaded.hash, roles(loaded)) == (tokenizer.hash, roles(tokenizer))
    assert np.array_equal(loaded.encode(topics["calls"]), tokenizer.encode(topics["calls"]))


@pytest.mark.parametrize("kind", tok.KINDS)
def test_what_is_saved_is_read_back(kind, tmp_path):
    tokenizer = tok.train([topics["if"], topics["calls"]], kind, 400, True, 3)
    save_hf(tokenizer, tmp_path)
    again = load_hf(tmp_path)
    assert (again.kind, roles(again), again.vocab_size) == (kind, roles(tokenizer), tokenizer.vocab_size)
    assert again.tables.sentinels.tolist() == tokenizer.tables.sentinels.tolist()
    for text in [topics["if"], " Déjà  vu 日本語\n", "", "</s> [MASK]<extra_id_0>"]:
        assert again.encode(text).tolist() == tokenizer.encode(text).tolist()
    around = Backend.from_file(str(tmp_path / "tokenizer.json")).encode("the").ids
    before = [tokenizer.tables.cls] if "cls" in roles(tokenizer) else []
    after = tokenizer.tables.sep if before else tokenizer.tables.eos  # an end after the text, as T5
    assert around == [*before, *tokenizer.encode("the").tolist(), after]


# --- errors ---


def test_directories_without_a_tokenizer(tmp_path):
    with pytest.raises(DataError, match=r"looked for tokenizer.json, spiece.model.*config.json, whose model_type"):
        load_hf(tmp_path)
    put(tmp_path, config__json={"model_type": "gpt2"}, vocab__json={"a": 0})
    with pytest.raises(DataError, match="looked for tokenizer.json, vocab.json and merges.txt; copy"):
        load_hf(tmp_path)


@pytest.mark.parametrize(
    "named",
    [
        {"config__json": {"model_type": "marian"}},
        {"tokenizer_config__json": {"tokenizer_class": "FlaubertTokenizer"}},
    ],
)
def test_families_with_rules_of_their_own_are_refused(tmp_path, named):
    put(tmp_path, vocab__json={"a": 0}, merges__txt="", **named)
    with pytest.raises(DataError, match="(marian|Flaubert).*does not read.*export a tokenizer.json"):
        load_hf(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer__json": "{"}, "tokenizer.json is not a whole tokenizer.json"),
        ({"tokenizer_config__json": "["}, "tokenizer_config.json is damaged"),
        ({"special_tokens_map__json": "[]"}, "special_tokens_map.json is damaged .*a JSON list"),
        (
            {"config__json": {"model_type": "gpt2"}, "vocab__json": "{", "merges__txt": ""},
            "vocab.json and merges.txt is not a whole vocabulary",
        ),
        ({"config__json": {"model_type": "t5"}, "spiece__model": "no"}, "spiece.model is not a whole sentencepiece"),
        ({"config__json": {"model_type": "t5"}, "spiece__model": ""}, "spiece.model is not a whole sentencepiece"),
    ],
)
def test_damaged_files_are_named(tmp_path, files, message):
    put(tmp_path, **files)
    with pytest.raises(DataError, match=message):
        load_hf(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"added_tokens_decoder": {"x": {"content": "q"}}}, "has the id 'x'"),
        ({"added_tokens_decoder": {"5": "q"}}, "added_tokens_decoder={'5': 'q'} must be an object"),
        ({"added_tokens_decoder": {"5": {"content": 3}}}, "content=3 must be a text"),
        ({"tokenizer_class": 3}, "tokenizer_class=3 must be a text"),
        ({"unk_token": 3}, "unk_token=3 must be a text or an object or null"),
        ({"unk_token": "\ud800"}, "unk_token="),
        ({"additional_special_tokens": 3}, "additional_special_tokens=3 must be a list"),
    ],
)
def test_settings_of_wrong_types_are_named(tmp_path, files, message):
    put_bpe(tmp_path, ["a"], [])
    put(tmp_path, config__json={"model_type": "gpt2"}, tokenizer_config__json=files)
    with pytest.raises(DataError, match=f"tokenizer_config.json.*{message}"):
        load_hf(tmp_path)


@pytest.mark.parametrize("ids", [{"a": 50_000_000}, {}, {"a": 0, "b": 0}])
def test_ids_that_no_table_can_hold(tmp_path, ids):
    put(tmp_path, config__json={"model_type": "gpt2"}, vocab__json=ids, merges__txt="")
    with pytest.raises(DataError, match="(pieces with ids up to .* expected ids below|two pieces have the same id)"):
        load_hf(tmp_path)


def test_a_panic_of_the_library_is_an_error_like_others(tmp_path):
    put(
        tmp_path,
        tokenizer__json={
            "model": {
                "type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]],
                "continuing_subword_prefix": "###",
            },
        },
    )  # fmt: skip
    with pytest.raises(DataError, match="tokenizer.json is not a whole tokenizer.json"):
        load_hf(tmp_path)


def test_a_unigram_is_no_llama(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(spiece(pad_id=0, eos_id=1, unk_id=2, bos_id=-1))
    put(tmp_path, config__json={"model_type": "llama"})
    with pytest.raises(DataError, match="holds no BPE"):
        load_hf(tmp_path)
