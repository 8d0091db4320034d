"""Hugging Face tokenizer files against the classes of transformers that read them: ids, roles and sizes.

Vocabularies are small and trained here, on documentation and on text with accents, Chinese, emoji and so on, and
written as the files of each family.
"""

import functools
import io
import json
import os
from pydoc_data.topics import topics

import pytest
import sentencepiece
import tokenizers as hf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

os.environ["HF_HUB_OFFLINE"] = "1"
import transformers

from cloze.data import tokenizers as tok
from cloze.data.encoding import Layout
from cloze.interop import tokenizers as interop_tokenizers
from cloze.tasks.predict import LanguageModel

transformers.utils.logging.set_verbosity_error()
WORLD = (
    "Le caf\u00e9 na\u00efve co\u00fbte d\u00e9j\u00e0 cher. \u00dcber \u00e4rger gro\u00df stra\u00dfe. "
    "Se\u00f1or ma\u00f1ana. \u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u3002 "
    "\u4e2d\u6587\u6587\u672c\uff0c\u6c49\u5b57\u3002 "
    "\ud55c\uad6d\uc5b4 \ubb38\uc7a5. \u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440. "
    "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac. \U0001f600 \U0001f44d "
    "cafe\u0301 1,000 2,50 ``quoted'' it's we'll DON'T <b>x</b>"
)
TEXTS = [topics[name] for name in ("assignment", "calls", "class", "if", "import", "strings")] + [WORLD] * 20
JAMO = "\u1112\u1161\u11ab"  # one Korean syllable in three characters; see `save_hf`
PLAIN = [
    *("", " ", "  ", "\n\t", "\r\n", " a", "a ", " a  b ", "a\n\nb\tc", "the class", "The CLASS's DON'T we'll"),
    *(
        "1,000 2,5, 3",
        "caf\u00e9",
        "cafe\u0301",
        "\u00c5ngstr\u00f6m A\u030angstro\u0308m",
        "\u0130stanbul \u1e9e\u00df",
    ),
    *(
        "\ufb01ne \u00bd \u2460 \uff21\uff22",
        "\u65e5\u672c\u8a9e",
        "\u4e2d\u6587 text \u6c49\u5b57",
        "\ud55c\uad6d\uc5b4",
        JAMO,
    ),
    *(
        "\u3000full\u3000width\u3000",
        "\U0001f600",
        "\U0001f469\u200d\U0001f469\u200d\U0001f467",
        "\U0001f44d\U0001f3fd",
    ),
    *("\U0001f1eb\U0001f1f7", "a\ufe0fb", "\u2764\ufe0f", "\x00", "\x07", "\x7f", "a\x00b\x07c\x7fd\x85e", "\x1c\x1d"),
    *("\u200b", "a\u200bb\u200cc\u200dd\ufeffe", "\u00ada\u2028b\u2029c", "\u05e9\u05dc\u05d5\u05dd"),
    *(
        "\u0645\u0631\u062d\u0628\u0627",
        "\u202eabc\u202c",
        "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
        "\u0928\u092e\u0938\u094d",
    ),
    *("``x'' ''y``", "...!?,;", "a_b-c/d\\e", "\u2581", "\u2581a \u2581 b", "a\u2581b", "##ing a##b", "x</w>"),
    *("\u0120the", "\U0010fffe\uffff", "a" * 20_000, "the class " * 2_000, "\u4e2d\u6587" * 10_000, "e\u0301" * 10_000),
    "\U0001f600" * 5_000 + " " * 5_000,
]
SPELLED = ["[MASK]", "a [MASK] b [SEP]", "</s>", "x<s>y</s>z<mask>", "<pad><unk>", "<|endoftext|> a"]
SPELLED += ["<extra_id_0> <eos> <cls>"]


@functools.cache
def wordpiece(lowercase):
    trained = tok.train(TEXTS, "wordpiece", 900, lowercase, 0)
    return "\n".join(trained.piece(i) for i in range(trained.vocab_size)) + "\n"


@functools.cache
def bpe(kind, specials):
    """vocab.json and merges.txt, with the specials first."""
    trained = tok.train(TEXTS, kind, 900, True, 0)
    model = json.loads(trained.model.content)["model"]
    pieces = [piece for piece in sorted(model["vocab"], key=model["vocab"].get) if piece not in ("<unk>", "<eos>")]
    vocabulary = {piece: i for i, piece in enumerate([*specials, *pieces])}
    merges = "\n".join(["#version: 0.2", *(" ".join(merge) for merge in model["merges"])])
    return json.dumps(vocabulary), merges + "\n"


@functools.cache
def sentencepiece_file(**settings):
    written = io.BytesIO()
    lines = [line for text in TEXTS for line in text.splitlines()]
    settings = {"vocab_size": 700, "hard_vocab_limit": False, "character_coverage": 0.999, "minloglevel": 2} | settings
    settings = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=written, **settings)
    return written.getvalue()


BRACKETS = dict(pad_piece="[PAD]", unk_piece="[UNK]", bos_piece="[CLS]", eos_piece="[SEP]")
SPIECE = {
    "t5": dict(pad_id=0, eos_id=1, unk_id=2, bos_id=-1),
    "albert": dict(
        pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols=("[CLS]", "[SEP]"),
        user_defined_symbols=("[MASK]", "(", ")"),
    ),
    "xlnet": dict(
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, control_symbols=("<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>")
    ),
    "deberta-v2": dict(pad_id=0, bos_id=1, eos_id=2, unk_id=3, **BRACKETS),
    "xlm-roberta": dict(unk_id=0, bos_id=1, eos_id=2, pad_id=-1),
    "llama": dict(unk_id=0, bos_id=1, eos_id=2, pad_id=-1, model_type="bpe", byte_fallback=True, vocab_size=1100,
                  normalization_rule_name="identity", remove_extra_whitespaces=False),
    "gemma": dict(unk_id=3, bos_id=2, eos_id=1, pad_id=0, bos_piece="<bos>", eos_piece="<eos>", model_type="bpe",
                  byte_fallback=True, vocab_size=1100, user_defined_symbols=("<mask>", "<b>", "</b>"),
                  normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False),
}  # fmt: skip
FAIRSEQ = ("<s>", "<pad>", "</s>", "<unk>")
BRACKETED = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
# name: (model_type, vocabulary files, other files)
CASES = {
    "bert": ("bert", ("wordpiece", True), {}),
    "bert, cased": ("bert", ("wordpiece", False), {"tokenizer_config": {"do_lower_case": False}}),
    "bert, accents kept": ("bert", ("wordpiece", True), {"tokenizer_config": {"strip_accents": False}}),
    "bert, Chinese not parted": ("bert", ("wordpiece", True), {"tokenizer_config": {"tokenize_chinese_chars": False}}),
    "bert, tokens added": ("bert", ("wordpiece", True), {
        "added_tokens": {"class of": 902, "[EXTRA]": 901, "<bos>": 900},
        "tokenizer_config": {"additional_special_tokens": ["[EXTRA]"]},
        "special_tokens_map": {"bos_token": "<bos>", "mask_token": {
            "content": "[MASK]", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}},
    }),
    "electra": ("electra", ("wordpiece", True), {"tokenizer_config": {"tokenizer_class": "ElectraTokenizer"}}),
    "distilbert": ("distilbert", ("wordpiece", True), {"tokenizer_config": {"tokenizer_class": "DistilBertTokenizer"}}),
    "openai-gpt": ("openai-gpt", ("bpe", ("<unk>",)), {}),
    "gpt2": ("gpt2", ("byte_bpe", ("<|endoftext|>",)), {}),
    "gpt2, padding added": ("gpt2", ("byte_bpe", ("<|endoftext|>",)), {"tokenizer_config": {
        "pad_token": "<pad>", "add_prefix_space": True, "added_tokens_decoder": {
            "900": {"content": "<pad>", "special": True}, "901": {"content": "lambda x", "normalized": True}}}}),
    "gpt_neox": ("gpt_neox", ("byte_bpe", ("<|endoftext|>", "<|padding|>")), {}),
    "roberta": ("roberta", ("byte_bpe", FAIRSEQ), {}),
    "roberta, a mask takes the space before it": ("roberta", ("byte_bpe", FAIRSEQ), {"special_tokens_map": {
        "mask_token": {"content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False}}}),
    "bart": ("bart", ("byte_bpe", FAIRSEQ), {"tokenizer_config": {"tokenizer_class": "BartTokenizer"}}),
    "deberta": ("deberta", ("byte_bpe", BRACKETED), {}),
    "qwen2": ("qwen2", ("byte_bpe", ("<|endoftext|>",)), {"tokenizer_config": {
        "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "additional_special_tokens": ["<|im_start|>"]}}),
    "t5": ("t5", "spiece.model", {}),
    "t5, 7 sentinels": ("t5", "spiece.model", {"tokenizer_config": {"extra_ids": 7}}),
    "albert": ("albert", "spiece.model", {}),
    "albert, cased": ("albert", "spiece.model", {"tokenizer_config": {"do_lower_case": False, "keep_accents": True}}),
    "xlnet": ("xlnet", "spiece.model", {}),
    "deberta-v3": ("deberta-v2", "spm.model", {
        "tokenizer_config": {"do_lower_case": False, "vocab_type": "spm"}, "added_tokens": {"[MASK]": 700}}),
    "deberta-v3, punctuation": ("deberta-v2", "spm.model", {
        "tokenizer_config": {"do_lower_case": True, "split_by_punct": True}}),
    "xlm-roberta": ("xlm-roberta", "sentencepiece.bpe.model", {}),
    "llama": ("llama", "tokenizer.model", {"tokenizer_config": {"tokenizer_class": "LlamaTokenizer"}}),
    "llama, legacy": ("llama", "tokenizer.model", {"tokenizer_config": {
        "tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": True, "pad_token": "<pad>"}}),
    "gemma": ("gemma", "tokenizer.model", {"tokenizer_config": {"tokenizer_class": "GemmaTokenizer"}}),
}  # fmt: skip


def write(case, directory):
    model_type, source, others = CASES[case]
    (directory / "config.json").write_text(json.dumps({"model_type": model_type}))
    for name, content in others.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    if isinstance(source, str):
        (directory / source).write_bytes(sentencepiece_file(**SPIECE[model_type]))
    elif source[0] == "wordpiece":
        (directory / "vocab.txt").write_text(wordpiece(source[1]))
    else:
        vocabulary, merges = bpe(*source)
        (directory / "vocab.json").write_text(vocabulary)
        (directory / "merges.txt").write_text(merges)


@pytest.fixture(scope="module", params=CASES)
def pair(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("hub")
    write(request.param, directory)
    return interop_tokenizers.load_hf(directory), transformers.AutoTokenizer.from_pretrained(directory)


def expected(reference, text, **options):
    return reference(text, add_special_tokens=False, **options)["input_ids"]


def check_same_ids(ours, reference, texts=PLAIN):
    for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
        assert ids.tolist() == expected(reference, text), repr(text[:80])


def test_ids_of_awkward_text(pair):
    check_same_ids(*pair, PLAIN + TEXTS[:3] + [WORLD])


def test_ids_of_any_text(pair):
    ours, reference = pair

    @settings(deadline=None, max_examples=300, derandomize=True)
    @given(text=st.text() | st.text(st.sampled_from(WORLD + "\u0301\u200d\u2581 \n")))
    def check(text):
        assume(not any(token in text for token in reference.all_special_tokens))  # see the next test
        assert ours.encode(text).tolist() == expected(reference, text)

    check()


def test_words_behind_prompts_are_those_of_the_whole_text(pair):
    ours, reference = pair
    writes = LanguageModel(None, None, ours, Layout("text", "decoder", 64, end=(1,)), 0, "causal", 1)
    for prompt in ("Is it a class? Answer:", "The value is ", "x =\n  ", "\u65e5\u672c\u8a9e"):
        text = prompt if prompt[-1].isspace() else f"{prompt} "
        (ids,), (lost,) = writes.continued([{"inputs": prompt}], [["the class", "naturally"]])
        alone = expected(reference, prompt)
        for word, found in zip(("the class", "naturally"), ids, strict=True):
            assert alone[: len(alone) - lost] + found.tolist() == expected(reference, text + word)


def test_text_that_spells_special_tokens_is_text(pair):
    """As `split_special_tokens`, which transformers cannot do for Unigram: there the model knows the special pieces."""
    ours, reference = pair
    special = set(ours.tables.special.nonzero()[0].tolist()) - {ours.tables.unk}
    for text, ids in zip(SPELLED, ours.encode_batch(SPELLED), strict=True):
        assert not special & set(ids.tolist())
        if ours.kind != "unigram":
            assert ids.tolist() == expected(reference, text, split_special_tokens=True)


def test_roles_and_size(pair):
    ours, reference = pair
    assert ours.vocab_size == max(reference.get_vocab().values()) + 1
    assert {ours.piece(i): i for i in range(ours.vocab_size) if ours.piece(i)} == reference.get_vocab()
    for role in tok.ROLES:
        theirs = getattr(reference, f"{role}_token_id")
        if role == "unk" and theirs in (reference.eos_token_id, reference.pad_token_id):
            theirs = None  # never the id of unknown text
        assert getattr(ours.tables, role) == theirs, role
    special = [i for i, token in reference.added_tokens_decoder.items() if token.special]
    assert ours.tables.special.nonzero()[0].tolist() == sorted(special)


def test_mistral_reads_its_sentencepiece_file_as_llama_does(tmp_path):
    """The marker comes before the first word. AutoTokenizer before 5.24 left it out, so that it is no oracle here."""
    write("llama", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "mistral"}')
    for name in ("tokenizer_config.json", "config.json"):  # with the class named, and without
        check_same_ids(interop_tokenizers.load_hf(tmp_path), transformers.LlamaTokenizer.from_pretrained(tmp_path))
        (tmp_path / name).unlink()
        (tmp_path / "config.json").write_text('{"model_type": "mistral"}')


def test_what_we_write_transformers_reads(pair, tmp_path):
    ours, reference = pair
    interop_tokenizers.save_hf(ours, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    written = transformers.AutoTokenizer.from_pretrained(tmp_path)
    check_same_ids(ours, written)
    texts = PLAIN[:40]
    assert written(texts)["input_ids"] == reference(texts)["input_ids"]  # with special tokens
    assert written(texts, texts)["input_ids"] == reference(texts, texts)["input_ids"]
    again = interop_tokenizers.load_hf(tmp_path)
    assert {role: getattr(again.tables, role) for role in tok.ROLES} == {
        role: getattr(ours.tables, role) for role in tok.ROLES
    }


def test_blanks(pair):
    ours, reference = pair
    if ours.tables.mask is not None:
        for text in ("the {} of", "{}the", "a {}{}  {} b {}."):
            text = text.replace("{}", reference.mask_token)
            assert ours.encode_blanks(text).tolist() == expected(reference, text), text


def test_what_is_beside_a_tokenizer_comes_back(pair, tmp_path):
    said = {"padding_side": "left", "truncation_side": "left", "model_max_length": 77, "chat_template": "{{ x }}"}
    pair[1].save_pretrained(tmp_path / "theirs")
    file = tmp_path / "theirs" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | said))
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    ours = interop_tokenizers.load_hf(tmp_path / "theirs")
    interop_tokenizers.save_hf(ours, tmp_path / "ours")
    (tmp_path / "ours" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    written = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert {name: getattr(written, name) for name in said} == said
    assert {i: repr(token) for i, token in written.added_tokens_decoder.items()} == {
        i: repr(token) for i, token in reference.added_tokens_decoder.items()
    }
    assert written.special_tokens_map == reference.special_tokens_map
    assert set(written.extra_special_tokens) == set(reference.extra_special_tokens)


def test_a_tokenizer_json_of_transformers(pair, tmp_path):
    _, reference = pair
    reference.save_pretrained(tmp_path)
    loaded = interop_tokenizers.load_hf(tmp_path)
    test_blanks((loaded, reference))
    assert (tmp_path / "tokenizer.json").exists()
    check_same_ids(loaded, reference)
    for role in set(tok.ROLES) - {"unk"}:
        assert getattr(loaded.tables, role) == getattr(reference, f"{role}_token_id"), role


@pytest.mark.parametrize("kind", tok.KINDS)
@pytest.mark.parametrize("model_type", ["bert", "gpt2", "t5"])
def test_trained_tokenizers_in_transformers(kind, model_type, tmp_path):
    ours = tok.train(TEXTS, kind, 700, True, 5)
    interop_tokenizers.save_hf(ours, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    check_same_ids(ours, reference, [text for text in PLAIN if text != JAMO or ours.model.file_name != "spiece.model"])
    sentinels = [reference.convert_tokens_to_ids(f"<extra_id_{i}>") for i in range(5)]
    assert sentinels == ours.tables.sentinels.tolist()
    assert isinstance(reference.backend_tokenizer, hf.Tokenizer)


@pytest.mark.parametrize("kind, model_type", [
    ("wordpiece", "bert"), ("word", "bert"), ("byte_bpe", "roberta"), ("unigram", "albert"),
    ("sentencepiece_bpe", "xlnet"),
])  # fmt: skip
def test_blanks_of_trained_tokenizers_in_transformers(kind, model_type, tmp_path):
    ours = tok.train(TEXTS, kind, 700, True, 0, mask_token=True)
    interop_tokenizers.save_hf(ours, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    test_blanks((ours, transformers.AutoTokenizer.from_pretrained(tmp_path)))
