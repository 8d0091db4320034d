"""A Hugging Face directory as a run, and a run as a Hugging Face directory."""

import dataclasses
import json

from cloze import interop, objectives
from cloze.configs import base
from cloze.data import tokenizers as own_tokenizers
from cloze.errors import ConfigError, DataError
from cloze.interop import files, plan, sentence_transformers, tokenizers
from cloze.interop import settings as hugging_face_settings
from cloze.training import initial, methods, new_run, restore, runs

CONVERSION = "convert.json"


def from_hf(source, workdir, report=print):
    """Makes a run's directory of a Hugging Face directory.

    Args:
        source: path of the Hugging Face directory.
        workdir: path of the directory to make; it must not exist, or be empty. It appears when it is complete.
        report: called with messages.

    Raises:
        ConfigError, DataError: what is wrong and how to mend it.
    """
    new_run.check_free(workdir)
    # The head of the objective comes along, so that training can start; it is random if the source has none.
    opened = files.open_directory(source)
    objective, objective_heads = pretraining(hugging_face_settings.read(opened.settings, opened.tensors)[2])
    tokenizer = open_tokenizer(source, report)
    loaded = interop.read_hf(source, heads=objective_heads, report=report)
    config = configure(loaded, objective, objective_heads, tokenizer, workdir)

    told = {
        "source": str(source.absolute()),
        "class_name": loaded.report.class_name,
        "dtypes": loaded.report.codes,
        "initialised": loaded.report.initialised,
        "unused": loaded.report.unused,
        "settings": loaded.settings,
        "generation": tokenizers.read_text(source / tokenizers.GENERATION_FILE),
    }
    with new_run.appearing(workdir) as directory:
        (directory / CONVERSION).write_text(json.dumps(told, indent=1) + "\n")
        new_run.write(directory, config, tokenizer, loaded.params)
    report(f"Converted into {workdir}; train on with --config={workdir / 'config.py'} --workdir={workdir}")


def open_tokenizer(source, report):
    """The tokenizer in a Hugging Face directory; None, and a message, if there is none."""
    try:
        return tokenizers.load_hf(source)
    except DataError as error:
        report(f"No tokenizer: {error}. The run can be converted back, but reads no text")
        return None


def pretraining(model_config):
    """({option of config.objective: value} that suits a model, the heads that it scores)."""
    if model_config.positions == "transformer_xl":
        return {"name": "permutation_lm", "mask_rate": 85 / 512, "memory_share": 0.5, "longest_ngram": 5}, ("lm",)
    if model_config.architecture == "decoder":
        return {"name": "causal_lm"}, ("lm",)
    if model_config.architecture == "encoder_decoder":
        name = {"bart": "bart", "transformer": "prefix_lm"}.get(model_config.family, "span_corruption")
        return {"name": name}, ("lm",)
    if "nsp" not in model_config.heads_out:
        return {"name": "masked_lm", "pairs": "none"}, ("mlm",)
    pairs = "sentence_order" if model_config.family == "albert" else "next_sentence"
    return {"name": "masked_lm", "pairs": pairs}, ("mlm", "nsp")


def configure(loaded, objective, objective_heads, tokenizer, workdir):
    """The configuration of a run that goes on from loaded parameters.

    Args:
        loaded: interop.Loaded.
        objective: {option: value} of config.objective.
        objective_heads: heads that the objective scores.
        tokenizer: tokenizers.Tokenizer, or None.
        workdir: the run's directory.
    """
    model_config = loaded.model.config
    c = base.get_base()
    c.name = workdir.name
    for field in dataclasses.fields(model_config):
        c.model[field.name] = getattr(model_config, field.name)
    c.objective.update(objective)
    if {"class", "tag"} & set(model_config.heads_out):
        c.task.labels = hugging_face_settings.label_names(loaded.settings)
    if tokenizer is not None:
        c.tokenizer.update(
            kind=tokenizer.kind, path=str((workdir / "tokenizer").absolute()), vocab_size=tokenizer.vocab_size,
            sentinels=len(tokenizer.tables.sentinels),
        )  # fmt: skip
    c.data.sequence_length = min(512, model_config.max_positions or 512)
    # A run that goes on has no length of its own, so that the rate does not fall; the optimizer's averages are new.
    c.optimizer.update(schedule="constant", warmup_steps=100)
    # Heads that the objective does not score stay as they are.
    scored = plan.parameters(dataclasses.replace(model_config, heads_out=tuple(objective_heads))).shapes
    idle = sorted({name.split("/")[0] for name in set(plan.parameters(model_config).shapes) - set(scored)})
    if idle:
        c.trainable = ((f"({'|'.join(idle)})/.*", False), (r".*", True))
    return c


def to_hf(workdir, target, dtype=None, class_name=None, report=print, ema=False):
    """Writes the newest whole checkpoint of a run as a Hugging Face directory.

    Args:
        workdir: path of the run's directory.
        target: the directory to write.
        dtype: of the files; None: that of the source, if the run was converted from one and not trained, else float32.
        class_name: class of transformers; None: that of the source, likewise, or the one that fits the heads.
        report: called with messages.
        ema: take the moving averages of the parameters that trained.
    """
    file = workdir / CONVERSION
    told = files.read_json(file) if file.exists() else {}
    config = runs.load_config(workdir)
    if runs.is_converted(workdir) and methods.saves_all(config):  # no objective need fit, no tokenizer be there
        model = runs.make_model(workdir, config, None)
        params, step = initial.load_parameters(workdir, config, model, None, report, ema=ema)
        kept = workdir / "tokenizer"
        tokenizer = own_tokenizers.load(kept) if kept.is_dir() else None
    else:
        trained = restore.load(workdir, report, ema=ema)
        model, params, tokenizer, step = trained.model, trained.params, trained.tokenizer, trained.step
    report(f"{workdir}: the parameters of step {step}")
    if step > 0:  # what was learned in float32, perhaps in a head that the source's class lacks, is kept
        told = {key: value for key, value in told.items() if key in ("settings", "generation")}
    interop.save_hf(
        target,
        model.config,
        params,
        tokenizer,
        dtype=dtype or source_dtype(told),
        class_name=class_name or told.get("class_name"),
        source_settings=told.get("settings"),
        labels=tuple(config.task.labels),
        generation=told.get("generation"),
        report=report,
    )


def to_sentence_transformers(workdir, target, dtype=None, report=print, ema=False):
    """Writes a run that has learned vectors of texts as a directory of the library sentence-transformers.

    Args:
        workdir, target, report, ema: see `to_hf`.
        dtype: of the files; None: float32.

    Raises:
        ConfigError: the run has learned no vectors, or no class of transformers computes its model.
    """
    config = runs.load_config(workdir)
    if config.objective.name != "contrastive":
        raise ConfigError(
            f"{workdir} has learned no vectors of texts (objective.name={config.objective.name}): finetune it with "
            "--config=configs/finetune/embed.py first, or write it with convert.py to_hf"
        )
    trained = restore.load(workdir, report, ema=ema)
    layout = objectives.build(trained.config, trained.tokenizer.tables, trained.model.config).rows.layout
    sentence_transformers.save(
        target, trained.model.config, trained.params, trained.tokenizer, layout, dtype or "float32", report=report
    )


def source_dtype(told):
    """The one dtype of the source's files, if it was one that is written, else float32."""
    names = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
    codes = told.get("dtypes", [])
    return names.get(codes[0], "float32") if len(codes) == 1 else "float32"
