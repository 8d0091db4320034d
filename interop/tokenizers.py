"""Tokenizers as they lie beside a model on the Hugging Face hub, read into `data.tokenizers.Tokenizer` and written.

Ids equal those of transformers 5.24 for the same files, `tok(text, add_special_tokens=False)`, with these deliberate
differences:

* Text that spells a special token is text, as everywhere in Cloze: "[MASK]" gives a bracket, a word and a bracket.
  transformers does that only when asked (`split_special_tokens=True`), and for Unigram not even then.
* A tokenizer.json is taken as it stands. transformers takes its vocabulary only, and builds the rest anew from the
  class that tokenizer_config.json names. For files that transformers 5 wrote that is the same. For older files it
  differs in rare text: Llama's where it begins with a space, DeBERTa v3's in line ends and decomposed accents.
* Llama's and Mistral's tokenizer.model puts a marker before the text, as in training. transformers before 5.24 leaves
  it out unless the class LlamaTokenizer is named, and always for Mistral.
* GPT-2 and Qwen name the end of text as the piece for unknown text, which bytes never need: there `unk` is None.
"""

import dataclasses
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from cloze import storage
from cloze.data import tokenizer_models
from cloze.data.tokenizers import ROLES, Tokenizer
from cloze.errors import DataError
from cloze.interop import keys
from cloze.interop import tokenizer_families as families
from cloze.value_types import expected

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
GENERATION_FILE = "generation_config.json"
ANY_CLASS = ("PreTrainedTokenizer", "TokenizersBackend", "PythonBackend")  # names that say nothing about the text

_TEMPLATE = re.compile(r"chat_template\.jinja|additional_chat_templates/[^/\\]+\.jinja")
_EXTRA = ("extra_special_tokens", "additional_special_tokens")  # the newer name and the older
_WRITTEN_ANEW = (  # of tokenizer_config.json, or of the machine that wrote it
    "tokenizer_class", "added_tokens_decoder", "tokenizer_file", "vocab_file", "merges_file", "special_tokens_map_file",
    "name_or_path", "auto_map", "backend", "is_local", "local_files_only", *_EXTRA,
)  # fmt: skip
_ADDED = {"content": keys.TEXT} | dict.fromkeys(
    ("single_word", "lstrip", "rstrip", "normalized", "special"), keys.SWITCH
)
_FLAG = keys.key(bool | None)
_MODEL_KEYS = {"model_type": keys.TEXT, "tokenizer_class": keys.TEXT}  # of config.json
_KEYS = {  # of tokenizer_config.json and special_tokens_map.json
    **{f"{role}_token": keys.key(str | dict[str, Any] | None) for role in ROLES},
    "tokenizer_class": keys.TEXT,
    "added_tokens_decoder": keys.key(dict[str, dict[str, Any]]),
    "additional_special_tokens": keys.key(list[str | dict[str, Any]]),
    "extra_special_tokens": keys.key(list[str | dict[str, Any]] | dict[str, Any]),
    "extra_ids": keys.key(int, least=0, most=100_000),
    **dict.fromkeys(("do_lower_case", "keep_accents", "split_by_punct", "tokenize_chinese_chars"), keys.SWITCH),
    **dict.fromkeys(("strip_accents", "add_prefix_space", "legacy", "add_bos_token", "add_eos_token"), _FLAG),
}
_END_KEYS = {"eos_token_id": keys.key(int | list[int] | None)}  # of config.json and generation_config.json
_ORDER = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")  # in which transformers adds tokens that are missing


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the small JSON files of a directory say.

    Attributes:
        name: class of transformers that reads the directory, "Fast" removed; None where nothing says so.
        options: everything in tokenizer_config.json.
        tokens: the special token of each role that is stated; None where a role is stated to have none.
        added: tokens with all that is stated of them, in the order of their ids: all that are beside the vocabulary.
        described: further tokens of which more is stated than their text, by it.
        extra: further special tokens.
        carried: what tokenizer_config.json says beside the tokens, for those who read it again.
    """

    name: str | None
    options: Mapping[str, object]
    tokens: Mapping[str, str | None]
    added: Sequence[AddedToken]
    described: Mapping[str, AddedToken]
    extra: Sequence[str]
    carried: Mapping[str, object]


def load_hf(directory: str | pathlib.Path) -> Tokenizer:
    """Reads the tokenizer of a directory with the files of a Hugging Face model.

    A tokenizer.json wins. Otherwise the vocabulary files of the families in `tokenizer_families.FAMILIES` are read:
    which family, says tokenizer_config.json (`tokenizer_class`) or config.json (`model_type`). A sentencepiece file of
    which nothing says to whom it belongs is read by sentencepiece itself.

    Args:
        directory: holds tokenizer.json, or vocab.txt, or vocab.json and merges.txt, or a sentencepiece model
            (spiece.model, spm.model, tokenizer.model or sentencepiece.bpe.model); besides them, where the model came
            with them, config.json, tokenizer_config.json, special_tokens_map.json and added_tokens.json.

    Returns:
        Tokenizer: `vocab_size` is the tokenizer's, which may be less or more than the model's.

    Raises:
        DataError: no tokenizer, a damaged file, or a family that is not read from vocabulary files.
    """
    directory = pathlib.Path(directory).expanduser()
    settings = read_settings(directory)
    ends = _ends(directory)
    family = families.FAMILIES.get(settings.name)
    defaults = {role: family.tokens.get(role) for role in ROLES} if family else {}
    path, whole = directory / TOKENIZER_FILE, (directory / TOKENIZER_FILE).is_file()
    if whole:
        backend = tokenizer_models.parse_huggingface(path.read_bytes(), path)
        own = {token.content for token in backend.get_added_tokens_decoder().values()}  # what it says of them counts
        described = {content: token for content, token in settings.described.items() if content not in own}
        _complete(backend, settings.added, settings.tokens, settings.extra, described)
    else:
        paths = _find_files(directory, settings.name, family)
        path = paths[0]
        if family is None:
            model = tokenizer_models.SentencePieceModel(path.read_bytes(), path)
            roles = {role: _piece_id(model, token) for role, token in settings.tokens.items()}
            return Tokenizer(model, 0, roles, ends, _carried(directory, settings, roles))
        tokens = defaults | settings.tokens
        backend = _build(family, paths, settings.options, tokens)
        _complete(backend, settings.added, tokens, settings.extra, settings.described)
        _surround(backend, _patterns(family, settings.options), tokens)
    model = tokenizer_models.HuggingFaceModel(backend.to_str().encode(), path)
    roles = _roles(backend, defaults | settings.tokens)
    return Tokenizer(model, 0, roles, ends, _carried(directory, settings, roles))


def save_hf(tokenizer: Tokenizer, directory: str | pathlib.Path) -> None:
    """Writes a tokenizer so that transformers' `AutoTokenizer.from_pretrained(directory)` gives the same ids.

    Written are tokenizer.json, tokenizer_config.json with the special tokens, and for a sentencepiece model also its
    own file. What else a tokenizer of Hugging Face came with goes back: other settings (padding side, longest text) and
    chat templates. Special tokens go around texts as the roles suggest, unless the tokenizer came with a rule: [CLS]
    and [SEP], or an end after each text where there are sentinels (T5). The class that is named reads tokenizer.json as
    it stands; only beside a config.json of Qwen2 transformers insists on Qwen2's own way to part words.

    transformers runs sentencepiece models through the `tokenizers` library, which does not compose some long sequences
    of characters (Korean in single letters, two accents on one letter): their ids differ from sentencepiece's there.

    Args:
        tokenizer: any.
        directory: made if need be; the model's config.json belongs beside these files.
    """
    directory = pathlib.Path(directory).expanduser()
    directory.mkdir(parents=True, exist_ok=True)
    model, tables = tokenizer.model, tokenizer.tables
    if isinstance(model, tokenizer_models.SentencePieceModel):
        (directory / model.file_name).write_bytes(model.content)
        proto = families.read_sentencepiece(model.content, directory / model.file_name)
        backend = families.sentencepiece_pipeline(proto)
    else:
        backend = Backend.from_str(model.content.decode())
    ids = {role: getattr(tables, role) for role in ROLES}
    tokens = {role: tokenizer.piece(i) for role, i in ids.items() if i is not None}
    sentinels = [tokenizer.piece(i) for i in range(len(model.pieces), tokenizer.vocab_size)]
    _add_special(backend, [*sentinels, *tokens.values()], {})
    if backend.post_processor is None:
        _surround(backend, _suggested(tokens, tables), tokens)
    backend.save(str(directory / TOKENIZER_FILE))
    written = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if len(tables.sentinels):
        written["additional_special_tokens"] = [tokenizer.piece(i) for i in tables.sentinels.tolist()]
    written |= {f"{role}_token": None for role in ROLES} | json.loads(tokenizer.carried.get(CONFIG_FILE, "{}"))
    written |= {f"{role}_token": token for role, token in tokens.items()}
    for name in filter(_TEMPLATE.fullmatch, tokenizer.carried):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(tokenizer.carried[name], encoding="utf-8")
    (directory / CONFIG_FILE).write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_settings(directory: pathlib.Path) -> Settings:
    """Reads config.json, tokenizer_config.json, special_tokens_map.json and added_tokens.json, where they are.

    Raises:
        DataError: one of them is no JSON object, or has a value of another type.
    """
    config, options = _read_json(directory / "config.json", _MODEL_KEYS), _read_json(directory / CONFIG_FILE, _KEYS)
    stated = dict(options)
    if "added_tokens_decoder" not in options:  # newer ones say everything there, so that the other two do not count
        stated |= _read_json(directory / "special_tokens_map.json", _KEYS)
    roles = {role: f"{role}_token" for role in ROLES}
    others = [key for key in stated if key.endswith("_token") and key not in roles.values()]  # such as "image_token"
    tokens = {role: _content(stated[key]) for role, key in roles.items() if key in stated}
    extra = [*(content for key in others if (content := _content(stated[key]))), *_extra(stated)]
    values = filter(_is_described, [*(stated.get(key) for key in (*roles.values(), *others)), *_extra_values(stated)])
    described = {value["content"]: _added_token(value | {"special": True}, directory) for value in values}
    if "added_tokens_decoder" in options:
        listed = options["added_tokens_decoder"]
        if wrong := [number for number in listed if not number.isdecimal()]:
            raise DataError(f"{directory / CONFIG_FILE}: added_tokens_decoder has the id {wrong[0]!r}: copy it again")
        added = [_added_token(listed[number], directory / CONFIG_FILE) for number in sorted(listed, key=int)]
    else:
        special = {*filter(None, tokens.values()), *extra}
        listed = _read_json(directory / "added_tokens.json", {})
        if words := expected(listed, dict[str, int]):
            raise DataError(f"{directory / 'added_tokens.json'} must be {words}: copy it again")
        listed = sorted(listed, key=listed.get)
        plain = [AddedToken(token, normalized=token not in special, special=token in special) for token in listed]
        added = [described.get(token.content, token) for token in plain]
    carried = {key: value for key, value in options.items() if key not in _WRITTEN_ANEW and key not in roles.values()}
    carried |= {key: _content(stated[key]) for key in others if _content(stated[key])}
    carried |= {key: _plain(stated[key]) for key in _EXTRA if stated.get(key)}
    named = (options.get("tokenizer_class") or config.get("tokenizer_class") or "").removesuffix("Fast")
    if named in ("", *ANY_CLASS):
        generic = named and (directory / TOKENIZER_FILE).is_file()
        named = None if generic else families.CLASS_OF_MODEL.get(config.get("model_type"), config.get("model_type"))
    return Settings(named, options, tokens, added, described, extra, carried)


def _read_json(path, declared):
    if not path.is_file():
        return {}
    try:
        return keys.checked(storage.read_json(path), declared, str(path), DataError)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}): expected a JSON object; copy it again") from None


def _content(value):
    """The text of a special token, which is written as text or as an object; None for anything else."""
    value = value.get("content") if isinstance(value, dict) else value
    return None if expected(value, str) else value


def _is_described(value):
    """Whether a special token is written as an object, which says more than its text."""
    return isinstance(value, dict) and isinstance(value.get("content"), str)


def _extra_values(stated):
    values = next((stated[key] for key in _EXTRA if stated.get(key)), [])
    return list(values.values()) if isinstance(values, dict) else values


def _extra(stated):
    return [_content(value) for value in _extra_values(stated)]


def _plain(values):
    """Further special tokens by their text alone, as a list or by name."""
    if isinstance(values, dict):
        return {name: _content(value) for name, value in values.items()}
    return [_content(value) for value in values]


def _added_token(described, path):
    described = keys.checked(described, _ADDED, f"{path}: added_tokens_decoder", DataError)
    if "content" not in described:
        raise DataError(f"{path}: a token of added_tokens_decoder has no content: copy it again")
    return AddedToken(**{name: described[name] for name in _ADDED if name in described})


def _carried(directory, settings, roles):
    """{name: text} of what goes back as it came; see data.tokenizers.Tokenizer."""
    unused = {f"{role}_token": token for role, token in settings.tokens.items() if token and roles.get(role) is None}
    templates = (directory / "additional_chat_templates").glob("*.jinja")
    names = [GENERATION_FILE, "chat_template.jinja", *sorted(f"{path.parent.name}/{path.name}" for path in templates)]
    found = {name: text for name in names if (text := read_text(directory / name)) is not None}
    return found | {CONFIG_FILE: json.dumps({**settings.carried, **unused})}


def read_text(path: pathlib.Path) -> str | None:
    """The text of a file, None where there is none.

    Raises:
        DataError: it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8: copy it again") from None


def _ends(directory):
    """The ids that end what a model writes, in the order in which its files name them; () where that is one."""
    ends = []
    for name in ("config.json", GENERATION_FILE):
        told = _read_json(directory / name, _END_KEYS).get("eos_token_id")
        ends += [i for i in (told if isinstance(told, list) else [told]) if isinstance(i, int)]
    ends = tuple(dict.fromkeys(ends))
    return ends if len(ends) > 1 else ()


def _find_files(directory, name, family):
    """The vocabulary files of a directory without tokenizer.json."""
    if family is None and name is not None:
        raise DataError(
            f"{directory} is of {name!r}, whose vocabulary files Cloze does not read (Marian and FlauBERT, for "
            f"instance, cut text by rules of their own first): expected a {TOKENIZER_FILE}, or one of "
            f"{', '.join(families.FAMILIES)}; export a {TOKENIZER_FILE}, or train a tokenizer"
        )
    sets = family.files if family else families.SENTENCEPIECE_FILES
    for names in sets:
        if all((directory / file).is_file() for file in names):
            return [directory / file for file in names]
    looked = ", ".join([TOKENIZER_FILE, *(" and ".join(names) for names in sets)])
    hint = ""
    if family is None:
        hint = "; for vocab.txt or vocab.json also a config.json, whose model_type says how they are read"
    raise DataError(f"{directory} holds no tokenizer: looked for {looked}{hint}; copy the model's files there")


def _build(family, paths, options, tokens):
    chosen = {key: options.get(key, default) for key, default in family.options.items()}
    names = " and ".join(path.name for path in paths)
    with tokenizer_models.whole(f"{paths[0].parent}: {names}", "vocabulary"):
        return family.build(paths, chosen, tokens)


def _complete(backend, added, tokens, extra, described):
    """Adds the special tokens that the vocabulary does not list, above it; those that it lists become special.

    Args:
        backend: changed in place.
        added, extra, described: see Settings.
        tokens: the special token of each role, or None.
    """
    named = [tokens[role] for role in _ORDER if tokens.get(role)]
    for token in added:
        token.special = token.special or token.content in named
    backend.add_tokens(list(added))
    there = {
        token.content for token in backend.get_added_tokens_decoder().values()
    }  # text that stays in one piece, too
    described = {content: token for content, token in described.items() if content not in {a.content for a in added}}
    _add_special(backend, [*named, *(t for t in extra if t in described or t not in there)], described)


def _add_special(backend, tokens, described):
    """Makes tokens special: as described, or else as the backend looks for them already, or else plain."""
    there = {token.content: token for token in backend.get_added_tokens_decoder().values()}
    for content in dict.fromkeys(tokens):
        token = described.get(content) or there.get(content) or AddedToken(content, normalized=False)
        token.special = True
        backend.add_special_tokens([token])


def _patterns(family, options):
    """The family's template; where that is plain, a begin and an end as tokenizer_config.json asks."""
    if family.template is not families.PLAIN:
        return family.template
    begin, end = ("bos" if options.get("add_bos_token") else ""), ("eos" if options.get("add_eos_token") else "")
    first, second = (
        " ".join(f"{part}:{kind}" for part in (begin, text, end) if part) for kind, text in enumerate("AB")
    )
    return first, f"{first} {second}"


def _suggested(tokens, tables):
    if {"cls", "sep"} <= set(tokens):
        return families.BERT
    return families.T5 if "eos" in tokens and len(tables.sentinels) else families.PLAIN


def _surround(backend, patterns, tokens):
    wanted = {part.split(":")[0] for pattern in patterns for part in pattern.split()} - {"A", "B"}
    if all(tokens.get(role) for role in wanted):
        backend.post_processor = families.template(patterns, tokens, backend.get_vocab())


def _roles(backend, tokens):
    ids = {role: None if token is None else backend.token_to_id(token) for role, token in tokens.items()}
    others = {i for role, i in ids.items() if role != "unk" and i is not None}
    return ids | ({"unk": None} if ids.get("unk") in others else {})


def _piece_id(model, token):
    return model.pieces.index(token) if token in model.pieces else None
