"""How each family cuts text: from its vocabulary files to the pipeline that the Rust `tokenizers` library runs.

A family is named by the class of transformers that reads its files; settings, default tokens and pipelines are those of
transformers 5.23, because ids must equal its ids. What follows from that and surprises:

* DeBERTa v3 ignores the character map inside its sentencepiece file (NFKC) and composes accents (NFC) instead.
* Llama and Gemma ignore theirs, and know merges only by the order of the pieces.
* XLNet removes accents whatever `keep_accents` says.

Where a sentencepiece file says which id stands for unknown text, that is taken; transformers assumes 2 for T5 and 1 for
ALBERT, which is the same for every released file.
"""

import dataclasses
from collections.abc import Callable, Mapping

from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from cloze.data import tokenizer_models
from cloze.errors import DataError

WORDPIECE_FILES = (("vocab.txt",),)
BPE_FILES = (("vocab.json", "merges.txt"),)
SENTENCEPIECE_FILES = (("spiece.model",), ("spm.model",), ("tokenizer.model",), ("sentencepiece.bpe.model",))

_MARKER = "\u2581"  # sentencepiece's space
_QWEN2_WORDS = (  # contractions; letters with what stands before them; single digits; punctuation; line ends; spaces
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclasses.dataclass(frozen=True)
class Family:
    """The tokenizer of a family.

    Attributes:
        files: the sets of files it can be built from; the first set that is there is taken.
        build: (paths of such a set, options, tokens) -> `tokenizers.Tokenizer` without special tokens.
        tokens: the special token of each role of `data.tokenizers.ROLES` that has one.
        options: settings that tokenizer_config.json may change.
        template: which tokens go around one text and around two, as roles with token types.
    """

    files: tuple[tuple[str, ...], ...]
    build: Callable
    tokens: Mapping[str, str]
    options: Mapping[str, object]
    template: tuple[str, str]


def template(patterns: tuple[str, str], tokens: Mapping[str, str | None], ids: Mapping[str, int]):
    """A post-processor that puts special tokens around one text, A, and around two, A and B.

    Args:
        patterns: for one and two texts, roles, A and B, each with its token type: "cls:0 A:0 sep:0".
        tokens: the token of each role.
        ids: the id of each token.
    """

    def spelled(pattern):
        parts = [part.split(":") for part in pattern.split()]
        return [f"{'$' + name if name in 'AB' else tokens[name]}:{kind}" for name, kind in parts]

    used = {part.split(":")[0] for pattern in patterns for part in pattern.split()} - {"A", "B"}
    special = sorted({(tokens[role], ids[tokens[role]]) for role in used})
    single, pair = map(spelled, patterns)
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)


def _wordpiece(paths, options, tokens):
    tokenizer = Tokenizer(models.WordPiece(models.WordPiece.read_file(str(paths[0])), unk_token=tokens["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=options["tokenize_chinese_chars"],
        strip_accents=options["strip_accents"],  # None: as the case goes
        lowercase=options["do_lower_case"],
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def _read_bpe(paths):
    """(vocabulary, merges) of vocab.json and merges.txt."""
    vocabulary, merges = models.BPE.read_file(*map(str, paths))
    tokenizer_models.check_ids(vocabulary, paths[0])
    if len(set(vocabulary.values())) < len(vocabulary):
        raise DataError(f"{paths[0]} is damaged, two pieces have the same id: copy it again")
    return vocabulary, merges


def _gpt1(paths, options, tokens):
    vocabulary, merges = _read_bpe(paths)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token=tokens["unk"], end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    return tokenizer


def _byte_bpe(paths, options, tokens):
    tokenizer = Tokenizer(models.BPE(*_read_bpe(paths)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=options["add_prefix_space"])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _gpt_neox(paths, options, tokens):
    tokenizer = _byte_bpe(paths, options, tokens)
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def _qwen2(paths, options, tokens):
    tokenizer = _gpt_neox(paths, options, tokens)
    words = pre_tokenizers.Split(Regex(_QWEN2_WORDS), behavior="isolated")
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=bool(options["add_prefix_space"]), use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_of])
    return tokenizer


def read_sentencepiece(content, path):
    """The bytes of a sentencepiece file as a protocol buffer; `path` is named in errors.

    Raises:
        DataError: not such a file.
    """
    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(content)
    except Exception as error:  # protobuf's DecodeError has no public home
        raise DataError(f"{path} is not a whole sentencepiece model ({error}): copy it again") from None
    if not proto.pieces:
        raise DataError(f"{path} is not a whole sentencepiece model (it has no pieces): copy it again")
    return proto


def _add_symbols(tokenizer, proto):
    """Control symbols are special; user-defined ones are text that stays in one piece."""
    kinds = {proto.SentencePiece.CONTROL: True, proto.SentencePiece.USER_DEFINED: False}
    symbols = [(piece.piece, kinds[piece.type]) for piece in proto.pieces if piece.type in kinds]
    tokenizer.add_tokens([AddedToken(piece, normalized=False, special=special) for piece, special in symbols])
    return tokenizer


def _marked_words(split, prefix):
    """Pre-tokenizer and decoder that write spaces as markers; `prefix` says where one is put before the text."""
    kinds = dict(replacement=_MARKER, prepend_scheme=prefix, split=split)
    return pre_tokenizers.Metaspace(**kinds), decoders.Metaspace(**kinds)


def _unigram(proto, vocabulary, unknown, steps, prefix):
    """Words between white space, each with a marker in front, cut by the most probable pieces."""
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=unknown, byte_fallback=False))
    characters = proto.normalizer_spec.precompiled_charsmap
    steps = [*steps, *([normalizers.Precompiled(characters)] if characters else [])]
    if steps:
        tokenizer.normalizer = normalizers.Sequence(steps)
    marked, tokenizer.decoder = _marked_words(True, prefix)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), marked])
    return tokenizer


def _scored(proto):
    return [(piece.piece, piece.score) for piece in proto.pieces]


def _t5(paths, options, tokens):
    proto = read_sentencepiece(paths[0].read_bytes(), paths[0])
    sentinels = [f"<extra_id_{i}>" for i in reversed(range(options["extra_ids"]))]
    vocabulary = [*_scored(proto), *((sentinel, 0.0) for sentinel in sentinels)]
    tokenizer = _unigram(proto, vocabulary, proto.trainer_spec.unk_id, [], "always")
    _add_symbols(tokenizer, proto)
    tokenizer.add_special_tokens(sentinels)
    return tokenizer


def _without_accents(options, keep):
    """ALBERT's and XLNet's cleaning of text, from the BERT code that both began with."""
    steps = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    steps += [] if keep else [normalizers.NFKD(), normalizers.StripAccents()]
    return steps + ([normalizers.Lowercase()] if options["do_lower_case"] else [])


def _albert(paths, options, tokens):
    proto = read_sentencepiece(paths[0].read_bytes(), paths[0])
    prefix = "always" if options["add_prefix_space"] else "never"
    steps = _without_accents(options, options["keep_accents"])
    return _add_symbols(_unigram(proto, _scored(proto), proto.trainer_spec.unk_id, steps, prefix), proto)


def _xlnet(paths, options, tokens):
    proto = read_sentencepiece(paths[0].read_bytes(), paths[0])
    steps = _without_accents(options, False)
    return _add_symbols(_unigram(proto, _scored(proto), proto.trainer_spec.unk_id, steps, "always"), proto)


def _xlm_roberta(paths, options, tokens):
    """Fairseq put four special tokens where sentencepiece has three, so that ids are one higher than in the file."""
    proto = read_sentencepiece(paths[0].read_bytes(), paths[0])
    first = [(tokens[role], 0.0) for role in ("bos", "pad", "eos", "unk")]
    vocabulary = [*first, *_scored(proto)[3:], (tokens["mask"], 0.0)]
    prefix = "always" if options["add_prefix_space"] else "never"
    return _add_symbols(_unigram(proto, vocabulary, 3, [], prefix), proto)


def _deberta_v2(paths, options, tokens):
    proto = read_sentencepiece(paths[0].read_bytes(), paths[0])
    tokenizer = Tokenizer(models.Unigram(_scored(proto), unk_id=proto.trainer_spec.unk_id, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            *([normalizers.Lowercase()] if options["do_lower_case"] else []),
            normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
            normalizers.NFC(),
            normalizers.Strip(left=False, right=True),
        ]
    )
    marked, tokenizer.decoder = _marked_words(True, "always" if options["add_prefix_space"] else "first")
    punctuation = [pre_tokenizers.Punctuation(behavior="isolated")] if options["split_by_punct"] else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*punctuation, marked])
    return _add_symbols(tokenizer, proto)


def merges_of(vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """The merges of a sentencepiece BPE, whose file holds only pieces in the order in which they were learned.

    Every way to cut a piece into two pieces is a merge; shorter left halves first.
    """
    return [
        (piece[:place], piece[place:])
        for piece in sorted(vocabulary, key=vocabulary.get)
        for place in range(1, len(piece))
        if piece[:place] in vocabulary and piece[place:] in vocabulary
    ]


def _byte_fallback_bpe(paths, **settings):
    """A sentencepiece BPE that spells characters it does not know as bytes, and is not told about spaces."""
    proto = read_sentencepiece(paths[0].read_bytes(), paths[0])
    if proto.trainer_spec.model_type != proto.trainer_spec.BPE:
        raise DataError(f"{paths[0]} holds no BPE: expected one, as Llama's and Gemma's are; check config.json")
    vocabulary = {piece.piece: i for i, piece in enumerate(proto.pieces)}
    model = models.BPE(vocabulary, merges_of(vocabulary), fuse_unk=True, byte_fallback=True, **settings)
    return _add_symbols(Tokenizer(model), proto)


def _llama(paths, options, tokens):
    tokenizer = _byte_fallback_bpe(paths)
    prefix = options["add_prefix_space"] is not False
    scheme = ("always" if options["legacy"] else "first") if prefix else "never"
    tokenizer.pre_tokenizer = _marked_words(False, scheme)[0]
    steps = [decoders.Replace(_MARKER, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps + ([decoders.Strip(content=" ", left=1)] if prefix else []))
    return tokenizer


def _gemma(paths, options, tokens):
    tokenizer = _byte_fallback_bpe(paths, unk_token=tokens["unk"])
    tokenizer.normalizer = normalizers.Replace(" ", _MARKER)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(_MARKER, " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def sentencepiece_pipeline(proto) -> Tokenizer:
    """A pipeline with the ids of sentencepiece itself, whichever family the file belongs to.

    Where none of the families' own readings applies: characters are mapped and spaces treated as the file says.
    """
    spec, spaces = proto.trainer_spec, proto.normalizer_spec
    if spec.model_type == spec.BPE:
        vocabulary = {piece.piece: i for i, piece in enumerate(proto.pieces)}
        settings = {"unk_token": spec.unk_piece, "fuse_unk": True, "byte_fallback": spec.byte_fallback}
        model = models.BPE(vocabulary, merges_of(vocabulary), **settings)
    else:
        model = models.Unigram(_scored(proto), unk_id=spec.unk_id, byte_fallback=spec.byte_fallback)
    tokenizer = Tokenizer(model)
    steps = [normalizers.Precompiled(spaces.precompiled_charsmap)] if spaces.precompiled_charsmap else []
    if spaces.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if spaces.add_dummy_prefix:
        steps += [normalizers.Prepend(" ")]
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", _MARKER)])
    steps = [decoders.Replace(_MARKER, " "), decoders.ByteFallback(), decoders.Fuse()]
    steps += [decoders.Strip(content=" ", left=1)] if spaces.add_dummy_prefix else []
    tokenizer.decoder = decoders.Sequence(steps)
    return _add_symbols(tokenizer, proto)


_BRACKETED = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
_ANGLED = {"bos": "<s>", "eos": "</s>", "unk": "<unk>"}
_FAIRSEQ = _ANGLED | {"sep": "</s>", "pad": "<pad>", "cls": "<s>", "mask": "<mask>"}
_CLS_SEP = {"bos": "[CLS]", "eos": "[SEP]"}
_END_OF_TEXT = dict.fromkeys(("bos", "eos", "unk"), "<|endoftext|>")

PLAIN = ("A:0", "A:0 B:1")
BERT = ("cls:0 A:0 sep:0", "cls:0 A:0 sep:0 B:1 sep:1")
T5 = ("A:0 eos:0", "A:0 eos:0 B:0 eos:0")
_TWO_SEPARATORS = ("cls:0 A:0 sep:0", "cls:0 A:0 sep:0 sep:0 B:0 sep:0")

_BERT_FAMILY = Family(
    WORDPIECE_FILES,
    _wordpiece,
    _BRACKETED,
    {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True},
    BERT,
)
_ROBERTA_FAMILY = Family(BPE_FILES, _byte_bpe, _FAIRSEQ, {"add_prefix_space": False}, _TWO_SEPARATORS)

FAMILIES = {
    "BertTokenizer": _BERT_FAMILY,
    "DistilBertTokenizer": _BERT_FAMILY,
    "ElectraTokenizer": _BERT_FAMILY,
    "OpenAIGPTTokenizer": Family(BPE_FILES, _gpt1, {"unk": "<unk>"}, {}, PLAIN),
    "GPT2Tokenizer": Family(BPE_FILES, _byte_bpe, _END_OF_TEXT, {"add_prefix_space": False}, PLAIN),
    "GPTNeoXTokenizer": Family(
        BPE_FILES, _gpt_neox, _END_OF_TEXT | {"pad": "<|padding|>"}, {"add_prefix_space": False}, PLAIN
    ),
    "RobertaTokenizer": _ROBERTA_FAMILY,
    "BartTokenizer": _ROBERTA_FAMILY,
    "DebertaTokenizer": Family(
        BPE_FILES, _byte_bpe, _BRACKETED | _CLS_SEP, {"add_prefix_space": False}, _TWO_SEPARATORS
    ),
    "Qwen2Tokenizer": Family(
        BPE_FILES,
        _qwen2,
        {role: "<|endoftext|>" for role in ("eos", "unk", "pad")},
        {"add_prefix_space": False},
        PLAIN,
    ),
    "T5Tokenizer": Family(
        SENTENCEPIECE_FILES,
        _t5,
        {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"},
        {"extra_ids": 100},
        T5,
    ),
    "AlbertTokenizer": Family(
        SENTENCEPIECE_FILES,
        _albert,
        _BRACKETED | _CLS_SEP | {"unk": "<unk>", "pad": "<pad>"},
        {"do_lower_case": True, "keep_accents": False, "add_prefix_space": True},
        BERT,
    ),
    "XLNetTokenizer": Family(
        SENTENCEPIECE_FILES,
        _xlnet,
        _ANGLED | {"sep": "<sep>", "pad": "<pad>", "cls": "<cls>", "mask": "<mask>"},
        {"do_lower_case": False},
        ("A:0 sep:0 cls:2", "A:0 sep:0 B:1 sep:1 cls:2"),
    ),
    "XLMRobertaTokenizer": Family(
        SENTENCEPIECE_FILES, _xlm_roberta, _FAIRSEQ, {"add_prefix_space": True}, _TWO_SEPARATORS
    ),
    "DebertaV2Tokenizer": Family(
        SENTENCEPIECE_FILES,
        _deberta_v2,
        _BRACKETED | _CLS_SEP,
        {"do_lower_case": False, "split_by_punct": False, "add_prefix_space": True},
        BERT,
    ),
    "LlamaTokenizer": Family(SENTENCEPIECE_FILES, _llama, _ANGLED, {"add_prefix_space": None, "legacy": False}, PLAIN),
    "GemmaTokenizer": Family(
        SENTENCEPIECE_FILES,
        _gemma,
        {"bos": "<bos>", "eos": "<eos>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"},
        {},
        PLAIN,
    ),
}

CLASS_OF_MODEL = {  # where tokenizer_config.json names no class
    "bert": "BertTokenizer",
    "distilbert": "BertTokenizer",
    "electra": "BertTokenizer",
    "openai-gpt": "OpenAIGPTTokenizer",
    "gpt2": "GPT2Tokenizer",
    "gpt_neox": "GPTNeoXTokenizer",
    "roberta": "RobertaTokenizer",
    "bart": "RobertaTokenizer",
    "deberta": "DebertaTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "llama": "LlamaTokenizer",
    "mistral": "LlamaTokenizer",
    "gemma": "GemmaTokenizer",
    "gemma2": "GemmaTokenizer",
    "gemma3_text": "GemmaTokenizer",
    "qwen2": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
    "t5": "T5Tokenizer",
    "albert": "AlbertTokenizer",
    "xlnet": "XLNetTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
}
