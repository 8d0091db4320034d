"""Turns a Hugging Face directory into a run's directory, and a run's model into a Hugging Face directory.

    python convert.py from_hf --source=bert-base-uncased/ --workdir=runs/bert
    python convert.py to_hf --workdir=runs/bert --target=my-bert/

--source holds config.json, model.safetensors (or shards with their index) and the tokenizer's files; nothing is
downloaded. The --workdir that from_hf makes is one for every other verb, as far as the model has an objective and a
tokenizer: it holds config.json, tokenizer/, checkpoints/ with the parameters as step 0, convert.json (what was read),
and config.py, which trains on from there:

    python train.py --config=runs/bert/config.py --workdir=runs/bert --config.train.steps=1000
"""

import json
import os
import pathlib
import shutil
import sys

from absl import flags

import cli

VERBS = ("from_hf", "to_hf")
CONVERSION = "convert.json"
CONFIG_PY = '''"""Goes on from converted parameters: python train.py --config={path} --workdir={workdir}"""

import pathlib

from configs import base


def get_config(arguments=""):
    """What convert.py found; every option can be set on the command line."""
    del arguments
    return base.load(pathlib.Path(__file__).with_name("config.json"))
'''

SOURCE = flags.DEFINE_string("source", "", "Hugging Face directory to read (from_hf).")
WORKDIR = flags.DEFINE_string("workdir", "", "Directory of a run: made by from_hf, read by to_hf.")
TARGET = flags.DEFINE_string("target", "", "Hugging Face directory to write (to_hf).")
DTYPE = flags.DEFINE_enum(
    "dtype",
    None,
    ["float32", "bfloat16", "float16"],
    "Of the files (to_hf); default: float32, or the source's until trained.",
)
CLASS_NAME = flags.DEFINE_string(
    "class_name",
    "",
    "Class of transformers to write (to_hf); default: what fits the heads, or the source's until trained.",
)


def main(verb):
    """Runs one of the two verbs."""
    from configs.base import suggest
    from errors import ConfigError

    if verb not in VERBS:
        found = f"unknown verb {verb!r}{suggest(verb, VERBS) or ';'}" if verb else "a verb is missing;"
        raise ConfigError(f"{found} say convert.py from_hf or convert.py to_hf (see --help)")
    for name in ("source", "workdir") if verb == "from_hf" else ("workdir", "target"):
        if not flags.FLAGS[name].value:
            raise ConfigError(f"convert.py {verb} needs --{name} (see --help)")
    cli.start_jax()
    if verb == "from_hf":
        from_hf(pathlib.Path(SOURCE.value).expanduser(), pathlib.Path(WORKDIR.value).expanduser())
    else:
        to_hf(pathlib.Path(WORKDIR.value).expanduser(), TARGET.value, DTYPE.value, CLASS_NAME.value or None)


def from_hf(source, workdir, report=print):
    """Makes a run's directory of a Hugging Face directory.

    Args:
        source: path of the Hugging Face directory.
        workdir: path of the directory to make; it must not exist, or be empty. It appears when it is complete.
        report: called with messages.

    Raises:
        ConfigError, DataError: what is wrong and how to mend it.
    """
    import interop
    from errors import ConfigError

    if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise ConfigError(f"--workdir={workdir} is there already and not empty: choose another, or remove it")
    # The head of the objective comes along, so that training can start; it is random if the source has none.
    objective, objective_heads = pretraining(source)
    tokenizer = open_tokenizer(source, report)
    loaded = interop.read_hf(source, heads=objective_heads, report=report)
    config = configure(loaded, objective, objective_heads, tokenizer, workdir)

    partial = workdir.with_name(f".{workdir.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        write_run(partial, config, loaded, tokenizer, source, workdir)
        if workdir.exists():
            workdir.rmdir()
        os.replace(partial, workdir)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    report(f"Converted into {workdir}; train on with --config={workdir / 'config.py'} --workdir={workdir}")


def write_run(directory, config, loaded, tokenizer, source, workdir):
    """Writes all that a run's directory holds into `directory`, which becomes `workdir`."""
    from configs import base
    from training.checkpoint import Checkpoints

    if tokenizer is not None:
        tokenizer.save(directory / "tokenizer")
    told = {
        "source": str(source.absolute()),
        "class_name": loaded.report.class_name,
        "dtypes": loaded.report.codes,
        "initialised": loaded.report.initialised,
        "unused": loaded.report.unused,
        "settings": loaded.settings,
    }
    (directory / CONVERSION).write_text(json.dumps(told, indent=1) + "\n")
    (directory / "config.py").write_text(CONFIG_PY.format(path=workdir / "config.py", workdir=workdir))
    settings = base.to_dict(config)
    (directory / "config.json").write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")
    checkpoints = Checkpoints(directory / "checkpoints", config.checkpoint.keep)
    meta = {"config": settings, "tokenizer": None if tokenizer is None else tokenizer.hash, "data": None}
    checkpoints.save(0, loaded.params, None, meta)
    checkpoints.close()


def open_tokenizer(source, report):
    """The tokenizer in a Hugging Face directory; None, and a message, if there is none."""
    from errors import DataError
    from interop import tokenizers

    try:
        return tokenizers.load_hf(source)
    except DataError as error:
        report(f"No tokenizer: {error}. The run can be converted back, but reads no text")
        return None


def pretraining(source):
    """({option of config.objective: value} that suits a source, the heads that it scores)."""
    from interop import files, settings

    opened = files.open_directory(source)
    _, _, model_config = settings.read(opened.settings, opened.tensors)
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
        tokenizer: data.tokenizers.Tokenizer, or None.
        workdir: the run's directory.
    """
    import dataclasses

    from configs import base
    from interop import plan

    model_config = loaded.model.config
    c = base.get_base()
    c.name = workdir.name
    for field in dataclasses.fields(model_config):
        c.model[field.name] = getattr(model_config, field.name)
    c.objective.update(objective)
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


def to_hf(workdir, target, dtype=None, class_name=None, report=print):
    """Writes the newest whole checkpoint of a run as a Hugging Face directory.

    Args:
        workdir: path of the run's directory.
        target: the directory to write.
        dtype: of the files; None: that of the source, if the run was converted from one and not trained, else float32.
        class_name: class of transformers; None: that of the source, likewise, or the one that fits the heads.
        report: called with messages.
    """
    import data.tokenizers
    import interop
    from training import restore

    file = workdir / CONVERSION
    told = json.loads(file.read_text()) if file.exists() else {}
    config = restore.load_config(workdir)
    if restore.is_converted(workdir):  # no objective need fit the model, and no tokenizer be there
        model = restore.make_model(workdir, config, None)
        params, step = restore.load_parameters(workdir, model, report)
        kept = workdir / "tokenizer"
        tokenizer = data.tokenizers.load(kept) if kept.is_dir() else None
    else:
        trained = restore.load(workdir, report)
        model, params, tokenizer, step = trained.model, trained.params, trained.tokenizer, trained.step
    report(f"{workdir}: the parameters of step {step}")
    if step > 0:  # what was learned in float32, perhaps in a head that the source's class lacks, is kept
        told = {key: value for key, value in told.items() if key == "settings"}
    interop.save_hf(
        target,
        model.config,
        params,
        tokenizer,
        dtype=dtype or source_dtype(told),
        class_name=class_name or told.get("class_name"),
        source_settings=told.get("settings"),
        report=report,
    )


def source_dtype(told):
    """The one dtype of the source's files, if it was one that is written, else float32."""
    names = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
    codes = told.get("dtypes", [])
    return names.get(codes[0], "float32") if len(codes) == 1 else "float32"


if __name__ == "__main__":
    asked = sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else ""
    cli.run(lambda: main(asked), __doc__)
