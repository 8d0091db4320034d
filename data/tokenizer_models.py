"""The two libraries behind `data.tokenizers`, each under the same few methods, and how they are trained.

A model has:
    kind: one of data.tokenizers.KINDS.
    content, file_name: the bytes of its file, and the name to save them under.
    pieces: the piece of every id, in the library's spelling; "" for an id without one.
    roles: ids of special tokens that the file states by role rather than by name.
    special: ids that the file declares to be no text.
    starts_word(piece), encode_batch(texts), encode_with_offsets(texts), encode_around(text, token_ids), decode(ids).
"""

import contextlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np
import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2, sentencepiece_pb2
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from cloze import storage
from cloze.errors import ConfigError, DataError

BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4
WORD_SPECIALS = (*BERT_SPECIALS, "<eos>")
BPE_SPECIALS = ("<unk>", "<eos>")
ALBERT_SPECIALS = ("[CLS]", "[SEP]", "[MASK]")  # after the three of sentencepiece
ROBERTA_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")  # and <mask>, as the last id
END_OF_TEXT = "<|endoftext|>"
WORD_END = "</w>"  # as GPT-1 writes it

MOST_IDS = 4_000_000  # several times the largest vocabulary that is published
MIN_FREQUENCY = 2  # a piece seen once teaches nothing
MAX_ALPHABET = 1000  # characters that wordpiece learns, as BERT's released vocabularies hold about this many
MAX_WORD = 1024  # characters; merging within a word takes time that grows with its square, so longer ones are cut
MAX_LINE = 4096  # characters; sentencepiece drops what is longer than its limit, so longer lines are cut
NOTHING_LEFT = (
    "no text to train a tokenizer on: the normalisation of tokenizer.kind={kind} leaves nothing of it (control "
    "characters and the like); check data.source, or set tokenizer.kind=byte_bpe, which keeps everything"
)
_MARKER = "\u2581"  # sentencepiece's space


class HuggingFaceModel:
    """A `tokenizers` model; see the module for its attributes."""

    file_name = "tokenizer.json"

    def __init__(self, content: bytes, path):
        """Reads the bytes of a tokenizer.json; `path` is named in errors.

        Raises:
            DataError: not a tokenizer.json, or of a kind that Cloze does not know.
        """
        self._tokenizer = parse_huggingface(content, path)
        self.content = content
        self._tokenizer.no_truncation()  # a file may carry the limits of the model it came with
        self._tokenizer.no_padding()
        ids = self._tokenizer.get_vocab()
        check_ids(ids, path)
        self.pieces = [""] * (max(ids.values()) + 1)
        for piece, i in ids.items():
            self.pieces[i] = piece
        with whole(path, "tokenizer.json of the Hugging Face tokenizers library"):
            described = json.loads(self._tokenizer.to_str())
            self.kind = _huggingface_kind(described, self.pieces, path)
            self.roles = {}
            self.special = [i for i, token in self._tokenizer.get_added_tokens_decoder().items() if token.special]
            if max(self.special, default=0) >= len(self.pieces):
                raise ValueError("two pieces have the same id")
            self._encoder = _without_specials(self._tokenizer, described, {self.pieces[i] for i in self.special})

    def starts_word(self, piece: str) -> bool:
        """Whether a piece that is text begins a word."""
        if self.kind == "wordpiece":
            return bool(piece) and not piece.startswith(self._tokenizer.model.continuing_subword_prefix)
        if self.kind == "byte_bpe":
            return piece.startswith(_BYTE_WHITESPACE)
        return bool(piece) if self.kind in ("bpe", "word") else piece.startswith(_MARKER)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Returns the ids of each text, without special tokens."""
        return [encoding.ids for encoding in self._encoder.encode_batch_fast(texts, add_special_tokens=False)]

    def encode_with_offsets(self, texts: list[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Returns the ids of each text as `encode_batch` does, and the characters [start, end) of each id."""
        encodings = self._encoder.encode_batch(texts, add_special_tokens=False)
        return [(encoding.ids, encoding.offsets) for encoding in encodings]

    def encode_around(self, text: str, token_ids: Collection[int]) -> list[int]:
        """Returns the ids of a text in which special tokens stand where the text spells their pieces."""
        described, wanted = json.loads(self._tokenizer.to_str()), {i: self.pieces[i] for i in token_ids}
        plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        added = {token["id"]: token for token in described["added_tokens"]}
        for i, piece in wanted.items():  # the library looks for added tokens that are not special, too
            added[i] = added.get(i, {"id": i, "content": piece, **plain}) | {"special": False}
        described["added_tokens"] = [added[i] for i in sorted(added)]
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(described))
        specials = {self.pieces[i] for i in self.special} - {*wanted.values()}
        return _without_specials(tokenizer, described, specials).encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        """Returns the text of ids that are no special tokens."""
        return self._tokenizer.decode(ids, skip_special_tokens=False) if ids else ""


def around(text: str, ids: Mapping[str, int], encode_batch: Callable[[list[str]], list]) -> list[int]:
    """The ids of a text: those of pieces {piece: id} where the text spells them, and of the texts between them."""
    if not ids:
        return list(encode_batch([text])[0])
    pieces = "|".join(map(re.escape, sorted(ids, key=len, reverse=True)))
    parts = re.split(f"({pieces})", text)
    between = iter(encode_batch(parts[::2]))
    return [i for n, part in enumerate(parts) for i in ([ids[part]] if n % 2 else next(between))]


def parse_huggingface(content: bytes, path) -> tokenizers.Tokenizer:
    """Reads the bytes of a tokenizer.json; `path` is named in errors.

    Raises:
        DataError: not a tokenizer.json.
    """
    with whole(path, "tokenizer.json of the Hugging Face tokenizers library"):
        described = storage.parse_json(content)
        vocabulary = described["model"]["vocab"]
        if isinstance(vocabulary, dict):
            check_ids(vocabulary, path)
        return tokenizers.Tokenizer.from_str(content.decode())


def check_ids(vocabulary: Mapping[str, int], path) -> None:
    """Refuses a vocabulary {piece: id} that is empty, or has an id so large that tables over ids would fill the memory.

    Raises:
        DataError: names the file.
    """
    if not vocabulary or max(vocabulary.values()) >= MOST_IDS:
        raise DataError(
            f"{path} has {len(vocabulary)} pieces with ids up to {max(vocabulary.values(), default=0)}: expected ids "
            f"below {MOST_IDS}, and a piece at least; copy or export it again"
        )


@contextlib.contextmanager
def whole(path, what: str) -> Iterator[None]:
    """What goes wrong inside, in Python or in the library, which raises bare exceptions and panics, is a DataError."""
    try:
        yield
    except (DataError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic is no Exception
        raise DataError(f"{path} is not a whole {what} ({error}): copy or export it again") from None


class SentencePieceModel:
    """A `sentencepiece` model; see the module for its attributes."""

    file_name = "spiece.model"

    def __init__(self, content: bytes, path):
        """Reads the bytes of a .model file; `path` is named in errors.

        Raises:
            DataError: not a sentencepiece model, or of a type other than unigram and BPE.
        """
        described = sentencepiece_model_pb2.ModelProto()
        try:
            described.ParseFromString(content)
            if not described.pieces or not described.HasField("trainer_spec"):
                raise ValueError("it has no pieces, or ends before its settings")
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=content)
        except Exception as error:  # protobuf's DecodeError, sentencepiece's RuntimeError, ValueError from above
            raise DataError(
                f"{path} is not a whole sentencepiece model ({error}): copy it again; "
                "a Hugging Face tokenizer must be a file that ends in .json"
            ) from None
        spec = described.trainer_spec
        kinds = {spec.UNIGRAM: "unigram", spec.BPE: "sentencepiece_bpe"}
        if spec.model_type not in kinds:
            raise DataError(f"{path} is a sentencepiece model of type {spec.model_type}: expected unigram or BPE")
        self.content = content
        self.kind = kinds[spec.model_type]
        self.pieces = [piece.piece for piece in described.pieces]
        self._markers = np.array([len(piece) - len(piece.lstrip(_MARKER)) for piece in self.pieces])
        processor = self._processor
        ids = {role: getattr(processor, f"{role}_id")() for role in ("pad", "unk", "bos", "eos")}
        self.roles = {role: i for role, i in ids.items() if i >= 0}
        text = (described.SentencePiece.NORMAL, described.SentencePiece.USER_DEFINED, described.SentencePiece.BYTE)
        self.special = [i for i, piece in enumerate(described.pieces) if piece.type not in text]

    def starts_word(self, piece: str) -> bool:
        """Whether a piece that is text begins a word."""
        return piece.startswith(_MARKER)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Returns the ids of each text, without special tokens."""
        return self._processor.encode(texts)

    def encode_with_offsets(self, texts: list[str]) -> list[tuple[list[int], np.ndarray]]:
        """Returns the ids of each text as `encode_batch` does, and the characters [start, end) of each id."""
        both = []
        for text, encoded in zip(texts, self._processor.encode(texts, out_type="serialized_proto"), strict=True):
            pieces = sentencepiece_pb2.SentencePieceText.FromString(encoded).pieces
            ids = [piece.id for piece in pieces]
            offsets = np.array([(piece.begin, piece.end) for piece in pieces], np.int64).reshape(-1, 2)
            if not text.isascii():  # the library counts bytes
                continues = (np.frombuffer(text.encode(), np.uint8) & 0xC0) == 0x80
                offsets -= np.concatenate([[0], np.cumsum(continues)])[offsets]
            both.append((ids, self._without_hollows(text, ids, offsets)))
        return both

    def _without_hollows(self, text, ids, offsets):
        """Gives pieces of a character that others end (the 1 and the stroke of U+00BD) the range of these others.

        The library leaves such a piece an empty range, or that of the white space before it.
        """
        sizes = offsets[:, 1] - offsets[:, 0]
        for k in np.flatnonzero(sizes <= self._markers[ids])[::-1].tolist():
            start, end = offsets[k]
            if k + 1 < len(ids) and not text[start:end].strip() and self.pieces[ids[k]].strip(_MARKER):
                offsets[k, 1] = offsets[k + 1, 1]
        return offsets

    def encode_around(self, text: str, token_ids: Collection[int]) -> list[int]:
        """Returns the ids of a text in which special tokens stand where the text spells their pieces."""
        return around(text, {self.pieces[i]: i for i in token_ids}, self.encode_batch)

    def decode(self, ids: list[int]) -> str:
        """Returns the text of ids that are no special tokens."""
        return self._processor.decode(ids) if ids else ""


def train_huggingface(
    texts: list[str], kind: str, vocab_size: int, lowercase: bool, mask_token: bool
) -> HuggingFaceModel:
    """Trains `wordpiece`, `byte_bpe`, `bpe` or `word`; see data.tokenizers.train."""
    train = {"wordpiece": _train_wordpiece, "byte_bpe": _train_byte_bpe, "bpe": _train_bpe, "word": _train_word}[kind]
    trained = train(texts, vocab_size, mask_token if kind == "byte_bpe" else lowercase)
    if trained.get_vocab_size() > vocab_size:  # the trainers keep the whole alphabet, whatever they were asked for
        raise _too_small(vocab_size, f"its {kind} alphabet and special tokens alone take {trained.get_vocab_size()}")
    return HuggingFaceModel(trained.to_str().encode(), "the trained tokenizer")


def train_sentencepiece(texts: list[str], kind: str, vocab_size: int, mask_token: bool) -> SentencePieceModel:
    """Trains `unigram` or `sentencepiece_bpe`; see data.tokenizers.train."""
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(texts),
            model_writer=written,
            model_type="bpe" if kind == "sentencepiece_bpe" else "unigram",
            vocab_size=vocab_size,
            hard_vocab_limit=False,  # small text supports fewer pieces
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,  # as the released T5 vocabularies
            control_symbols=list(ALBERT_SPECIALS) if mask_token else [],
            num_threads=1,  # the result repeats only at a fixed number
            max_sentence_length=4 * MAX_LINE,  # bytes
            input_sentence_size=0,
            shuffle_input_sentence=False,  # all of the text, in its order
            minloglevel=2,
        )
    except RuntimeError as error:
        if "all_chars_count" in str(error):
            raise DataError(NOTHING_LEFT.format(kind=kind)) from None
        if "vocabulary size" not in str(error).lower():
            raise
        raise _too_small(vocab_size, f"sentencepiece says: {str(error).strip().splitlines()[-1]}") from None
    return SentencePieceModel(written.getvalue(), "the trained tokenizer")


def _too_small(vocab_size, why):
    return ConfigError(
        f"tokenizer.vocab_size leaves {vocab_size} pieces to learn, too few for this text ({why}): raise it"
    )


def _lines(texts):
    for text in texts:
        for line in text.splitlines():
            for start in range(0, len(line), MAX_LINE):
                yield line[start : start + MAX_LINE]


def _cut_words(texts):
    """Yields texts, cut within runs of more than MAX_WORD characters that are all white space or none."""
    for text in texts:
        if max(map(len, text.split()), default=0) <= MAX_WORD and not _LONG_SPACE.search(text):
            yield text
            continue
        start = 0
        for run in re.finditer(r"\S+|\s+", text):
            for cut in range(run.start() + MAX_WORD, run.end(), MAX_WORD):
                yield text[start:cut]
                start = cut
        yield text[start:]


def _new(model, lowercase):
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    return tokenizer


def _alphabet(texts, lowercase):
    """The most frequent characters of the text, sorted; ties go by the character's number."""
    normalize = normalizers.BertNormalizer(lowercase=lowercase).normalize_str
    counts = Counter()
    for text in texts:
        counts.update(normalize(text))
    frequent = sorted((c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c))
    return sorted(frequent[:MAX_ALPHABET])


def _train_in_two_passes(new, trainer, texts, vocab_size, specials, alphabet, affix, **settings):
    """Trains a model whose pieces carry an affix ("##a" or "a</w>"), the same in every process.

    The library numbers single characters with the affix in an order that changes from process to process, and
    breaks ties between pairs by those numbers: the first pass finds which of them occur, the second is given them
    in sorted order.

    Args:
        new: makes an untrained `tokenizers.Tokenizer`.
        trainer: the class of its trainer; `settings` are handed to it.
        specials, alphabet: pieces that come first, in this order.
        affix: whether a piece is one character with the affix.

    Returns:
        tokenizers.Tokenizer: trained; what was given counts as special tokens in it.
    """

    def trained(size, given):
        tokenizer = new()
        tokenizer.train_from_iterator(
            _cut_words(texts),
            trainer(
                vocab_size=size,
                min_frequency=MIN_FREQUENCY,
                special_tokens=given,
                initial_alphabet=alphabet,
                limit_alphabet=len(alphabet),
                show_progress=False,
                **settings,
            ),
        )
        return tokenizer

    carriers = sorted(piece for piece in trained(0, []).get_vocab() if affix(piece))
    return trained(vocab_size, [*specials, *alphabet, *carriers])


def _train_wordpiece(texts, vocab_size, lowercase):
    def new(vocabulary):
        tokenizer = _new(models.WordPiece(vocabulary, unk_token="[UNK]"), lowercase)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece(cleanup=False)  # cleaning up rewrites words: "do not" to "don't"
        return tokenizer

    trained = _train_in_two_passes(
        lambda: new({}),
        trainers.WordPieceTrainer,
        texts,
        vocab_size,
        BERT_SPECIALS,
        _alphabet(texts, lowercase),
        lambda piece: len(piece) == 3 and piece.startswith("##"),
    )
    tokenizer = new(trained.get_vocab())
    tokenizer.add_special_tokens(list(BERT_SPECIALS))
    return tokenizer


def _train_bpe(texts, vocab_size, lowercase):
    def new(vocabulary, merges):
        model = models.BPE(vocabulary, merges, unk_token="<unk>", end_of_word_suffix=WORD_END)
        tokenizer = _new(model, lowercase)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.BPEDecoder(suffix=WORD_END)
        return tokenizer

    trained = _train_in_two_passes(
        lambda: new({}, []),
        trainers.BpeTrainer,
        texts,
        vocab_size,
        BPE_SPECIALS,
        _alphabet(texts, lowercase),
        lambda piece: len(piece) == 1 + len(WORD_END) and piece.endswith(WORD_END),
        end_of_word_suffix=WORD_END,
    )
    merges = json.loads(trained.to_str())["model"]["merges"]
    tokenizer = new(trained.get_vocab(), [tuple(merge) for merge in merges])
    tokenizer.add_special_tokens(list(BPE_SPECIALS))
    return tokenizer


def _train_byte_bpe(texts, vocab_size, mask_token):
    """GPT-2's, or with a mask token RoBERTa's: the same pieces between other special tokens."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        min_frequency=MIN_FREQUENCY,
        show_progress=False,
        special_tokens=list(ROBERTA_SPECIALS) if mask_token else [],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(_cut_words(texts), trainer)
    # The last id, as theirs. RoBERTa's stands for a word with its space.
    last = tokenizers.AddedToken("<mask>", lstrip=True, normalized=False) if mask_token else END_OF_TEXT
    tokenizer.add_special_tokens([last])
    return tokenizer


def _train_word(texts, vocab_size, lowercase):
    tokenizer = _new(models.WordLevel(unk_token="[UNK]"), lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # runs of word characters, runs of punctuation
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size, min_frequency=MIN_FREQUENCY, show_progress=False, special_tokens=list(WORD_SPECIALS)
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _without_specials(tokenizer, described, specials):
    """A tokenizer with the same ids for which text that spells a special token is text.

    The library's own switch keeps added tokens from matching. It does not keep the model from putting the same
    piece together, where the piece has a probability (Unigram) or is merged from its parts (a BPE converted from
    sentencepiece): there the piece is renamed to what no text holds, and its merges are left out. sentencepiece
    treats its control symbols alike. The piece for unknown text stays.
    """
    model, added, changed = described["model"], described["added_tokens"], False
    if model["type"] == "Unigram":
        for i, (piece, score) in enumerate(model["vocab"]):
            if piece in specials and i != model["unk_id"]:
                model["vocab"][i] = [_UNSPEAKABLE + piece, score]
                added = [token | {"content": _UNSPEAKABLE + piece} if token["id"] == i else token for token in added]
                changed = True
    elif model["type"] == "BPE":
        merges = [merge for merge in model["merges"] if "".join(merge) not in specials - {model["unk_token"]}]
        changed = len(merges) < len(model["merges"])
        model["merges"] = merges
    if changed:
        described |= {"added_tokens": added, "post_processor": None, "truncation": None, "padding": None}
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(described))
    tokenizer.encode_special_tokens = True
    return tokenizer


def _huggingface_kind(described, pieces, path):
    """The kind by the type of the model, and for BPE by how it spells a space or a word's end."""
    model = described["model"]
    if model["type"] == "BPE":
        if '"ByteLevel"' in json.dumps([described["pre_tokenizer"], described["decoder"]]):
            return "byte_bpe"
        if model["end_of_word_suffix"]:
            return "bpe"
        if any(piece.startswith(_MARKER) for piece in pieces):
            return "sentencepiece_bpe"
        raise DataError(
            f"{path} is a BPE that works neither on bytes (GPT-2) nor with marks for the ends of words (GPT-1) or for "
            "spaces (U+2581, Llama): give another tokenizer"
        )
    return {"WordPiece": "wordpiece", "WordLevel": "word", "Unigram": "unigram"}[model["type"]]


# ByteLevel spells the byte b as chr(256 + b) for control characters and the space.
_BYTE_WHITESPACE = tuple(chr(256 + byte) for byte in b" \t\n\r\x0b\x0c")
_LONG_SPACE = re.compile(rf"\s{{{MAX_WORD + 1}}}")
_UNSPEAKABLE = "\U0010ffff"  # no character, so that no text holds it
