"""A run with LoRA as a directory of the `peft` package, and such a directory as a run."""

import dataclasses
import pathlib
import re

from cloze import models, objectives
from cloze.configs.base import get_base
from cloze.data import tokenizers
from cloze.errors import ConfigError
from cloze.interop import peft
from cloze.models import names
from cloze.models.composite import Composite
from cloze.models.heads import HEADS, head_modules, label_pattern
from cloze.models.low_rank import Lora
from cloze.training import hugging_face, initial, methods, new_run, resolve, runs, trainable


def to_peft(workdir, target, class_name=None, report=print, ema=False):
    """Writes the newest whole checkpoint of a run with LoRA for `peft`: factors, heads, and the name of its base.

    Args:
        workdir: path of the run's directory.
        target: the directory to write; it must not exist, or be empty.
        class_name: class of transformers that the adapter goes with; None: the one that fits the heads.
        report: called with messages.
        ema: take the moving averages of the parameters that trained.

    Raises:
        ConfigError: a run that is not LoRA on top of another model, or has learned what peft has no place for.
        CheckpointError: no checkpoint is whole.
    """
    config = runs.load_config(workdir)
    lora = next((p for p in methods.of(config).parts(methods.model_config(config)) if isinstance(p, Lora)), None)
    if lora is None:
        raise ConfigError(
            f"{workdir} has finetune.method={config.finetune.method}, to_peft writes lora: merge it instead, and to_hf "
            "writes the whole model"
        )
    tokenizer = tokenizers.load(workdir / "tokenizer")
    model = runs.make_model(workdir, config, tokenizer.tables)
    heads = _heads_learned(workdir, config, model, tokenizer)
    params, step = initial.load_parameters(workdir, config, model, tokenizer, report, ema=ema)
    base = pathlib.Path(config.init.checkpoint).expanduser().absolute()
    if not initial.is_hugging_face(base):
        report(f"{base}, which is adapted, is a run: convert.py to_hf writes it for users of peft")
    report(f"{workdir}: the parameters of step {step}")
    written = dict(class_name=class_name, modules=heads, base=str(base), report=report)
    peft.save_lora(target, model.config, params, lora, **written)


def _heads_learned(workdir, config, model, tokenizer):
    """Names of the modules that a run has trained beside factors, which must be heads; all else must be its base's."""
    merge = "merge it instead (convert.py merge), and to_hf writes the whole model"
    objective = objectives.build(config, tokenizer.tables, methods.model_config(config))
    donors = initial.donors(config, objective, tokenizer)
    if len(donors) != 1 or isinstance(model.model, Composite):
        raise ConfigError(f"{workdir} is not LoRA on top of one model that init.checkpoint names: {merge}")
    parameters = models.parameters(model)
    split = trainable.of_stage(config, objective, methods.stages(config, parameters.shapes)[0], parameters.shapes)
    learned = split.trainable_shapes()
    tops = {name.split("/")[0] for name in learned} - {"lora"}
    if others := sorted(tops - set(head_modules())):
        raise ConfigError(f"{workdir} has also trained {', '.join(others)}, for which peft has no place: {merge}")
    # Factors of layers that are not adapted add nothing.
    kept = [name for name in parameters.shapes if name not in learned and not name.startswith("lora/")]
    if not donors[0].is_all_of(kept, parameters.shapes, parameters.axis_names):
        raise ConfigError(
            f"{workdir} has parameters that neither train nor are those of {donors[0].workdir}, such as new rows of "
            f"the vocabulary, for which peft has no place: {merge}"
        )
    return tuple(sorted(tops))


def from_peft(source, origin, workdir, class_name=None, report=print):
    """Makes a run's directory of a directory of `peft`: its checkpoint holds factors and heads, and names the base.

    Args:
        source: path of the directory of peft.
        origin: path of the run or the Hugging Face directory that is adapted.
        workdir: path of the directory to make; it must not exist, or be empty.
        class_name: class of transformers that the adapter was made for; None: see interop.peft.load_lora.
        report: called with messages.

    Raises:
        ConfigError, DataError: what is wrong and how to mend it.
    """
    new_run.check_free(workdir)
    config = _config(origin, workdir)
    opened = initial.open_origin(origin)
    bare = dataclasses.replace(models.resolve(config.model), heads_out=opened.heads_out)
    made = peft.adapted_config(source, bare, class_name)
    lora, tree = peft.load_lora(source, made, class_name, base=lambda: opened.read(None, report)[0])
    given = names.flatten(tree)
    always = f"lora/.*|{label_pattern()}"  # what LoRA trains in any case
    also = {name for name in given if not re.fullmatch(always, name)}
    config.finetune.update(
        method="dora" if lora.magnitudes else "lora", lora_rank=lora.rank, lora_alpha=lora.alpha,
        lora_scaling=lora.scaling, lora_targets=lora.targets,
        also=tuple(re.escape(name) for name in sorted(also)),
    )  # fmt: skip
    scored = _set_objective(config, origin, made)
    config.model.update(num_labels=made.num_labels, heads_out=tuple(dict.fromkeys((*made.heads_out, *scored))))

    tokenizer = resolve.open_tokenizer(config, report=report)
    config.tokenizer.path = str((workdir / "tokenizer").absolute())
    model_config = methods.model_config(config)
    objective = objectives.build(config, tokenizer.tables, model_config)
    model = methods.with_parts(config, models.build(model_config), model_config)
    parameters = models.parameters(model)
    donors = initial.donors(config, objective, tokenizer)
    split = trainable.of_stage(config, objective, methods.stages(config, parameters.shapes)[0], parameters.shapes)
    learned = [name for name, mask in split.mask.items() if mask.any()]
    flat = initial.beginning(config, model, donors, learned, report) | given
    held, _ = split(names.unflatten({name: flat[name] for name in learned}))
    seal = {"stage": 0, "base": initial.describe_base(donors)}
    with new_run.appearing(workdir) as directory:
        new_run.write(directory, config, tokenizer, held, seal=seal)
    report(
        f"{source}: LoRA of rank {lora.rank} on top of {origin}, in {workdir}: {len(given)} of the "
        f"{len(learned)} parameters that train, the others are the base's or new"
    )


def _config(origin, workdir):
    """The configuration of a run on top of another model, without an objective."""
    config = get_base()
    config.name = workdir.name
    config.init.update(checkpoint=str(origin.absolute()), inherit=True)
    config = resolve.resolve(config)
    config.init.inherit = False  # it is all here
    config.data.sequence_length = min(512, models.resolve(config.model).max_positions or 512)
    config.optimizer.update(schedule="constant", warmup_steps=100)  # as of converted runs
    return config


def _set_objective(config, origin, made):
    """Sets the objective that scores a head of the ModelConfig `made`; gives the heads that it needs."""
    labelled = [name for name in made.heads_out if HEADS[name].labels]
    if labelled:
        (kind,) = labelled
        config.objective.name = "supervised"
        config.task.kind = "regression" if kind == "class" and made.num_labels == 1 else kind
        return (kind,)
    if not initial.is_hugging_face(origin):
        theirs = runs.load_config(origin)
        if theirs.objective.name not in ("supervised", "responses"):
            config.objective, config.data = theirs.objective, theirs.data
            return ()
    objective, heads = hugging_face.pretraining(made)
    config.objective.update(objective)
    return heads
