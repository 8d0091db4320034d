"""Text to token ids and back: one interface over Hugging Face `tokenizers` and `sentencepiece`.

Six kinds: `wordpiece` (BERT), `byte_bpe` (GPT-2), `bpe` (GPT-1: pieces of words, whose ends are marked), `word`, and
sentencepiece's `unigram` (T5) and `sentencepiece_bpe`. Encoding never produces a special token, not even from text
that spells one: objectives place them, by the ids in `Tables`.

Sentinels are ids above the model's own pieces, `<extra_id_0>` the highest, as in the released T5
vocabularies; the model's file knows nothing of them unless it came with its own.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from cloze import storage
from cloze.data import tokenizer_models as tm
from cloze.errors import ConfigError, DataError
from cloze.options import BY_HAND, Path, option
from cloze.value_types import expected

KINDS = ("wordpiece", "byte_bpe", "bpe", "word", "unigram", "sentencepiece_bpe")
ROLES = ("pad", "unk", "bos", "eos", "cls", "sep", "mask")

_META_FILE = "tokenizer_meta.json"  # beside the model in a saved directory
_BARE_FILES = ("tokenizer.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
_SENTINEL = re.compile("\u2581?<extra_id_([0-9]{1,9})>")  # mT5's pieces carry the word marker
_NAMES = {  # usual names of each role, the first that exists is taken
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "bos": ("<s>", "<bos>", "<|begin_of_text|>", "<|endoftext|>"),
    "eos": ("</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>"),
    "cls": ("[CLS]", "<cls>"),
    "sep": ("[SEP]", "<sep>"),
    "mask": ("[MASK]", "<mask>"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerOptions:
    """Section `tokenizer`."""

    kind: str = option("wordpiece", "bpe is GPT-1's", choices=KINDS)
    vocab_size: int = option(
        30522,
        "ids at most, special tokens and sentinels included; small text supports fewer",
        least=1,
        most=tm.MOST_IDS,
    )
    path: Path = option(
        "",
        "an existing tokenizer.json, or a sentencepiece .model; empty: train on the configuration's text",
        changes=BY_HAND,
    )
    lowercase: bool = option(True, "fold case and strip accents (wordpiece, bpe, word)")
    mask_token: bool = option(
        False,
        "byte_bpe has RoBERTa's special tokens, <mask> among them, instead of <|endoftext|>; unigram and "
        "sentencepiece_bpe have [CLS], [SEP] and [MASK] as well (ALBERT, XLNet)",
    )
    sentinels: int = option(0, "sentinel tokens added after the learned pieces (T5: 100)", least=0, most=tm.MOST_IDS)
    training_bytes: int = option(20_000_000, "text read to train a tokenizer, at most", least=1, most=2**40)


@dataclasses.dataclass(frozen=True, eq=False)
class Tables:
    """What objectives need to know of a vocabulary.

    Attributes:
        vocab_size: ids run from 0 to vocab_size - 1.
        pad, unk, bos, eos, cls, sep, mask: the id of each special token, None where there is none.
        sentinels: int32 [n], the id of sentinel 0, 1, ...
        special: bool [vocab_size], ids that are not text: all of the above, [UNK] too, and whatever else the
            tokenizer's file declares special.
        starts_word: bool [vocab_size], the piece begins a word. False for special ids, except an
            unknown that stands for a whole word. `bpe` marks where words end, not where they begin: there
            every piece counts as a word of its own.
    """

    vocab_size: int
    pad: int | None
    unk: int | None
    bos: int | None
    eos: int | None
    cls: int | None
    sep: int | None
    mask: int | None
    sentinels: np.ndarray
    special: np.ndarray
    starts_word: np.ndarray


class Tokenizer:
    """A trained tokenizer. Made by `train` and `load`.

    Attributes:
        kind: one of KINDS.
        vocab_size: number of ids, sentinels included.
        tables: the `Tables` of its vocabulary.
        hash: sha256 (hex) over the model's bytes, the kind, the sentinels and the stated roles; equal hashes encode
            equally.
        model: what encodes, one of the classes of `data.tokenizer_models`.
        has_piece: bool [vocab_size], whether an id has a piece; those without are no text.
        ends: ids that end what is written, where there are more than `tables.eos` (a turn's, a document's).
        carried: {name: text} of small files that it came with and that go back with it. Of these Cloze reads the chat
            template (data.chat) and how to write (training.generation).
    """

    def __init__(
        self,
        model,
        sentinels: int,
        roles: Mapping[str, int | None],
        ends: Sequence[int] = (),
        carried: Mapping[str, str] | None = None,
    ):
        """Wraps a model of `data.tokenizer_models`, with `sentinels` ids put above its own.

        Args:
            model: `HuggingFaceModel` or `SentencePieceModel`.
            sentinels: how many; ignored where the model has sentinels of its own.
            roles: ids of special tokens that are known from elsewhere than the model's file, by role (one of ROLES);
                None says that there is none. Roles that are not in it are found by their usual names.
            ends, carried: see the class.
        """
        in_file = {int(m[1]): i for i, piece in enumerate(model.pieces) if (m := _SENTINEL.fullmatch(piece))}
        self.model, self.ends, self.carried = model, tuple(ends), dict(carried or {})
        self._added = 0 if in_file else sentinels
        self._pieces = [*model.pieces, *(f"<extra_id_{i}>" for i in reversed(range(self._added)))]
        self.kind = model.kind
        self.vocab_size = len(self._pieces)
        self.has_piece = np.array([bool(piece) for piece in self._pieces])
        ids = (
            [in_file[i] for i in sorted(in_file)] if in_file else [self.vocab_size - 1 - i for i in range(self._added)]
        )
        self._roles = dict(sorted(roles.items()))
        self.tables = _tables(model, self._pieces, np.array(ids, np.int32), self._roles)
        digest = hashlib.sha256(model.content)
        digest.update(json.dumps([self.kind, ids, *([self._roles] if roles else [])]).encode())
        self.hash = digest.hexdigest()
        self._holes = frozenset(ids)
        self._not_text = frozenset(np.flatnonzero(self.tables.special).tolist()) - {self.tables.unk}

    def encode(self, text: str) -> np.ndarray:
        """Returns the ids of `text`, int32 [n], without special tokens."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Returns the ids of each text, int32 [n_i]; the fast way, on all cores."""
        return [np.array(ids, np.int32) for ids in self.model.encode_batch(list(texts))]

    def encode_blanks(self, text: str) -> np.ndarray:
        """Returns the ids of a text with blanks, int32 [n]: where it spells the mask's piece, the mask stands.

        White space around a blank belongs to it where the tokenizer says so, as RoBERTa's does. Other special tokens
        that the text spells are text, as in `encode`.

        Raises:
            ValueError: the tokenizer has no mask.
        """
        if self.tables.mask is None:
            raise ValueError("a tokenizer without a mask has no blanks")
        return self.encode_around(text, [self.tables.mask])

    def encode_around(self, text: str, ids: Iterable[int]) -> np.ndarray:
        """Returns the ids of a text with special tokens, int32 [n]: those of `ids` stand where it spells their pieces.

        As in `encode_blanks`, which is this for the mask alone.
        """
        ids, known = [*map(int, ids)], len(self.model.pieces)
        own, beside = [i for i in ids if i < known], {self._pieces[i]: i for i in ids if i >= known}  # sentinels
        encoded = tm.around(text, beside, lambda texts: [self.model.encode_around(part, own) for part in texts])
        return np.array(encoded, np.int32)

    def encode_with_offsets(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns the ids of each text, the same as from `encode_batch`, and where they come from.

        Returns:
            For each text: ids int32 [n]; offsets int32 [n, 2], the characters [start, end) that made each id. These
            may begin with white space. Ids that are bytes of one character all have its range; a piece that the text
            does not hold (a word marker) may have an empty one.
        """
        return [
            (np.array(ids, np.int32), np.array(offsets, np.int32).reshape(-1, 2))
            for ids, offsets in self.model.encode_with_offsets(list(texts))
        ]

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """Returns the text of a sequence of ids.

        Args:
            ids: integers in [0, vocab_size).
            skip_special: leave out special tokens, except sentinels: those mark where text is missing
                and are always shown, as `<extra_id_0>`.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        parts, run = [], []
        for i in map(int, ids):
            if not 0 <= i < self.vocab_size:
                raise ValueError(f"id {i} is outside the vocabulary of {self.vocab_size}")
            if i not in self._not_text:
                run.append(i)
            elif i in self._holes or not skip_special:
                parts += [self.model.decode(run), self._pieces[i].removeprefix("\u2581")]
                run = []
        parts.append(self.model.decode(run))
        return ("" if self.kind == "byte_bpe" else " ").join(part for part in parts if part)

    def piece(self, token_id: int) -> str:
        """Returns the piece with this id, in the tokenizer's own spelling ("##ing", "\u0120the", "\u2581the").

        Raises:
            IndexError: an id outside the vocabulary.
        """
        if not 0 <= token_id < self.vocab_size:
            raise IndexError(f"id {token_id} is outside the vocabulary of {self.vocab_size}")
        return self._pieces[token_id]

    def save(self, directory: str | pathlib.Path) -> None:
        """Writes the model and what `load` needs beside it; the directory is made if need be."""
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / self.model.file_name).write_bytes(self.model.content)
        meta = {"kind": self.kind, "model": self.model.file_name, "sentinels": self._added, "roles": self._roles}
        meta |= {"ends": self.ends, "carried": self.carried, "hash": self.hash}
        meta["file"] = storage.describe(directory / self.model.file_name)
        storage.write_checked(directory / _META_FILE, meta)


def train(
    texts: Iterable[str], kind: str, vocab_size: int, lowercase: bool, sentinels: int, mask_token: bool = False
) -> Tokenizer:
    """Learns a tokenizer; the same texts give the same tokenizer in every process.

    Args:
        texts: documents; they are held in memory.
        kind: one of KINDS.
        vocab_size: ids to end with at most, specials and sentinels included; little text supports fewer.
        lowercase: fold case and strip accents (wordpiece, bpe, word; ignored by the others).
        sentinels: number of sentinels.
        mask_token: byte_bpe has RoBERTa's special tokens instead of GPT-2's, and sentencepiece's kinds have [CLS],
            [SEP] and [MASK] as ALBERT and XLNet (wordpiece and word have them anyway).

    Raises:
        ConfigError: a vocabulary too small for its sentinels, or for the characters of the text.
        DataError: no text, or none of which the normalisation of this kind leaves anything.
    """
    if sentinels >= vocab_size:
        raise ConfigError(f"tokenizer.sentinels={sentinels} must be less than tokenizer.vocab_size={vocab_size}")
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise DataError("no text to train a tokenizer on: the data source gave only empty documents")
    learned = vocab_size - sentinels
    if kind in ("unigram", "sentencepiece_bpe"):
        model = tm.train_sentencepiece(texts, kind, learned, mask_token)
    else:
        model = tm.train_huggingface(texts, kind, learned, lowercase, mask_token)
    tokenizer = Tokenizer(model, sentinels, {})
    if not any(len(tokenizer.encode(text)) for text in texts):
        raise DataError(tm.NOTHING_LEFT.format(kind=kind))
    return tokenizer


def load(path: str | pathlib.Path, kind: str | None = None, sentinels: int = 0) -> Tokenizer:
    """Reads a tokenizer.

    Args:
        path: a directory written by `Tokenizer.save`, or a bare `tokenizer.json` or sentencepiece
            `.model` file, or a directory that holds one.
        kind: the kind it must be; None takes what is there.
        sentinels: for bare files without sentinels of their own, how many to add above their pieces
            (a released T5 `spiece.model`: 100).

    Raises:
        DataError: nothing there, a damaged file, or another kind than asked for.
    """
    path = pathlib.Path(path).expanduser()
    meta = None
    if path.is_dir():
        meta = _read_meta(path) if (path / _META_FILE).exists() else None
        names = [meta["model"]] if meta else [name for name in _BARE_FILES if (path / name).exists()]
        if not names:
            raise DataError(f"{path} holds no tokenizer: expected {_META_FILE}, or one of {', '.join(_BARE_FILES)}")
        path = path / names[0]
    if not path.is_file():
        raise DataError(
            f"no tokenizer at {path}: expected a tokenizer.json, a sentencepiece .model, or a directory with one"
        )
    # Earlier versions wrote no "file".
    if meta and "file" in meta and (state := storage.difference(path, meta["file"])):
        raise DataError(f"{path} {state}: copy it again, or remove its directory to train the tokenizer anew")
    content = path.read_bytes()
    model = (tm.HuggingFaceModel if path.suffix == ".json" else tm.SentencePieceModel)(content, path)
    if meta:
        count = len(model.pieces) + meta["sentinels"]
        if not all(i is None or 0 <= i < count for i in (*meta["roles"].values(), *meta["ends"])):
            raise DataError(
                f"{path.parent / _META_FILE} is damaged: a special token is none of the {count} ids; copy the "
                "directory again, or remove it to train the tokenizer anew"
            )
        tokenizer = Tokenizer(model, meta["sentinels"], meta["roles"], meta["ends"], meta["carried"])
    else:
        tokenizer = Tokenizer(model, sentinels, {})
    if meta and tokenizer.hash != meta["hash"]:
        raise DataError(f"{path} is not the file that was saved (its hash differs): copy it again, or train it anew")
    if kind is not None and tokenizer.kind != kind:
        raise DataError(
            f"{path} is a {tokenizer.kind} tokenizer, expected {kind}: "
            f"set tokenizer.kind={tokenizer.kind}, or give another tokenizer.path"
        )
    return tokenizer


def _read_meta(directory):
    path = directory / _META_FILE
    try:
        meta, reason = storage.read_checked(path), ""
    except (OSError, ValueError) as error:
        meta, reason = None, f"{error}; "
    kinds = {"model": str, "sentinels": int, "roles": dict[str, int | None], "ends": list[int]}
    kinds |= {"carried": dict[str, str], "hash": str}
    meta = {"roles": {}, "ends": [], "carried": {}} | meta if meta is not None else {}  # older directories state none
    if (
        any(expected(meta.get(key), kind) for key, kind in kinds.items())
        or pathlib.PurePath(meta["model"]).name != meta["model"]  # a file of this directory, and no other
        or not 0 <= meta["sentinels"] <= tm.MOST_IDS
    ):
        raise DataError(
            f"{path} is damaged: {reason}expected a JSON object with {', '.join(kinds)}; "
            "copy the directory again, or remove it to train the tokenizer anew"
        )
    return meta


def _tables(model, pieces, sentinels, stated):
    """Finds the special ids as stated or by their usual names, and marks special ids and beginnings of words."""
    ids = {piece: i for i, piece in reversed(list(enumerate(pieces)))}  # the lowest id of a piece counts
    roles = {role: next((ids[name] for name in names if name in ids), None) for role, names in _NAMES.items()}
    roles |= {role: i for role, i in model.roles.items() if i is not None}
    if "<mask>" in ids:  # RoBERTa, BART: <s> and </s> do the work of [CLS] and [SEP]
        roles["cls"] = ids.get("<s>") if roles["cls"] is None else roles["cls"]
        roles["sep"] = ids.get("</s>") if roles["sep"] is None else roles["sep"]
    roles |= stated
    special = np.zeros(len(pieces), bool)
    special[[*model.special, *sentinels, *(i for i in roles.values() if i is not None)]] = True
    starts_word = np.zeros(len(pieces), bool)
    starts_word[: len(model.pieces)] = [model.starts_word(piece) for piece in model.pieces]
    starts_word &= ~special
    if model.kind in ("wordpiece", "word") and roles["unk"] is not None:
        starts_word[roles["unk"]] = True
    return Tables(
        len(pieces),
        **{role: roles[role] for role in ROLES},
        sentinels=sentinels,
        special=special,
        starts_word=starts_word,
    )
