"""Directories of the library sentence-transformers: a model of Hugging Face, and how its states become a vector.

Reimers and Gurevych 2019, arXiv:1908.10084. modules.json lists what a text goes through: Transformer, whose files are
at the top as transformers has them, 1_Pooling, and 2_Normalize, so that dot products are cosines.
"""

import dataclasses
import json
import pathlib

import numpy as np
import tokenizers
from tokenizers import processors

from cloze import models, storage
from cloze.errors import ConfigError, DataError
from cloze.interop import files, formats
from cloze.interop import plan as plans
from cloze.interop.save import check_free, save_hf
from cloze.interop.tokenizers import CONFIG_FILE, TOKENIZER_FILE
from cloze.models import names
from cloze.models.heads import head_modules

MODULES = "modules.json"
POOLINGS = {"first": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "last": "lasttoken"}  # ours: theirs
# The library's keys of 1_Pooling/config.json: newer releases write one, "pooling_mode", and read these as well.
_MODES = {ours: f"pooling_mode_{theirs}" for ours, theirs in POOLINGS.items()}
_NEWER = {"cls": "first", "mean": "mean", "max": "max", "lasttoken": "last"}
_OTHER_MODES = ("pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens")
_TYPE = "sentence_transformers.models."
_SAMPLE = "a text"


def save(directory, config, params, tokenizer, layout, dtype="float32", report=print):
    """Writes a directory that `SentenceTransformer(directory)` reads; it appears when it is complete.

    Its vectors have length 1.

    Args:
        directory: must not exist, or be empty.
        config: ModelConfig; its `pooling` says what the vector is.
        params: nested tree of arrays.
        tokenizer: data.tokenizers.Tokenizer.
        layout: data.encoding.Layout of the texts.
        dtype: see `save_hf`.
        report: called with a line.

    Raises:
        ConfigError: no class of transformers computes the model, or the directory is not empty.
    """
    target = pathlib.Path(directory).expanduser()
    check_free(target)
    class_name, held, params = _body(config, params)
    with storage.whole(target) as partial:
        save_hf(partial, held, params, tokenizer, dtype, class_name=class_name, report=lambda line: None)
        _frame(partial, tokenizer, layout)
        for name, content in _described(config, layout).items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_text(json.dumps(content, indent=2) + "\n")
        (partial / "2_Normalize").mkdir()
    report(
        f"{target}: {class_name} for sentence-transformers, vectors of {config.width} numbers, "
        f"pooling {config.pooling}, texts of at most {layout.length} tokens"
    )


def _described(config, layout):
    """{file: content} of what the library reads beside the model."""
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": _TYPE + path.partition("_")[2]}
        for number, path in enumerate(("0_Transformer", "1_Pooling", "2_Normalize"))
    ]
    modules[0]["path"] = ""
    modes = {key: key == _MODES[config.pooling] for key in (*_MODES.values(), *_OTHER_MODES)}
    return {
        MODULES: modules,
        "sentence_bert_config.json": {"max_seq_length": layout.length, "do_lower_case": False},
        "1_Pooling/config.json": {"word_embedding_dimension": config.width, **modes, "include_prompt": True},
        "config_sentence_transformers.json": {
            "model_type": "SentenceTransformer", "similarity_fn_name": "cosine", "prompts": {},
            "default_prompt_name": None, "__version__": {},
        },
    }  # fmt: skip


def _body(config, params):
    """(the class of transformers that is a body alone, ModelConfig and parameters as it has them).

    BERT's has a pooler, which no vector reads: it is written as zeros, of the family's own pooling.
    """
    for known in formats.of_family(config.family):
        for name, held in known.classes.items():
            if held.base == "" and name.endswith("Model"):
                wanted = plans.parameters(dataclasses.replace(config, heads_out=held.heads)).shapes
                flat = dict(names.flatten(params))
                for missing in set(wanted) - set(flat):
                    if missing.split("/")[0] in head_modules():
                        flat[missing] = np.zeros(wanted[missing], np.float32)
                own = models.resolve({"family": known.families[0], "preset": known.preset}).pooling
                return name, dataclasses.replace(config, pooling=own), names.unflatten(flat)
    raise ConfigError(
        f"models of model.family={config.family} have no class in transformers that gives states alone, which "
        "sentence-transformers reads: train vectors with another family, such as bert or gpt2"
    )


def _frame(directory, tokenizer, layout):
    """Makes the written tokenizer put around texts what ours stood between, and gives it a token to pad with."""
    backend = tokenizers.Tokenizer.from_file(str(directory / TOKENIZER_FILE))
    ours = [*layout.start, *tokenizer.encode(_SAMPLE).tolist(), *layout.end]
    if backend.encode(_SAMPLE).ids != ours:
        around = [(tokenizer.piece(i), i) for i in (*layout.start, *layout.end)]
        start, end = ([tokenizer.piece(i) for i in ids] for ids in (layout.start, layout.end))
        template = processors.TemplateProcessing(
            single=[*start, "$A", *end], pair=[*start, "$A", *end, "$B:1"], special_tokens=around
        )
        backend.post_processor = template
        backend.save(str(directory / TOKENIZER_FILE))
    settings = json.loads((directory / CONFIG_FILE).read_text(encoding="utf-8"))
    if settings.get("pad_token") is None:  # any does, as it is not seen
        settings["pad_token"] = tokenizer.piece((*layout.end, *layout.start)[0])
    settings |= {"model_max_length": layout.length, "padding_side": "right"}
    (directory / CONFIG_FILE).write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def pooling_of(directory):
    """What the vector of a text is in a directory of the library.

    Args:
        directory: path, of Hugging Face or of the library.

    Returns:
        (a value of model.pooling, None where it is none of them; names of what else a text goes through there). Both
        are empty where the directory is not of the library.

    Raises:
        DataError: a file is missing or damaged.
    """
    directory = pathlib.Path(directory).expanduser()
    if not (directory / MODULES).is_file():
        return None, ()
    kinds = {str(module["type"]).rpartition(".")[2]: str(module.get("path", "")) for module in _modules(directory)}
    others = tuple(kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize"))
    if "Pooling" not in kinds:
        return None, others
    told = files.read_json(directory / kinds["Pooling"] / "config.json")
    mode = told.get("pooling_mode")
    if mode is None:
        chosen = [key for key in (*_MODES.values(), *_OTHER_MODES) if told.get(key)]
        found = next((ours for ours, key in _MODES.items() if chosen == [key]), None)
        mode = chosen
    else:
        found = _NEWER.get(mode) if isinstance(mode, str) else None
    return found, others if found else (*others, f"a pooling ({mode}) that model.pooling has not")


def _modules(directory):
    """The modules that a directory lists, each a dict with its `type`."""
    path = directory / MODULES
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): copy it again") from None
    if not isinstance(found, list) or not all(isinstance(module, dict) and "type" in module for module in found):
        raise DataError(f"{path} holds no list of modules with their types: copy it again")
    return found
