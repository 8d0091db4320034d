"""A run as an ordinary one: what it has learned beside the model's parameters is put into them."""

import copy

from cloze.configs import base
from cloze.data import tokenizers
from cloze.models.adapted import Adapted
from cloze.training import initial, methods, new_run, runs


def merge(workdir, target, report=print, ema=False):
    """Writes the newest whole checkpoint of a run as a run that needs no other one, and has no finetuning method.

    LoRA's products are added to the kernels, prefixes and prompts are computed, and parts inside the model (adapters,
    prefixes, prompts, transformed features) belong to its shape. The objective, the heads and the step stay.

    Args:
        workdir: path of the run's directory.
        target: path of the directory to make; it must not exist, or be empty.
        report: called with messages.
        ema: take the moving averages of the parameters that trained.

    Raises:
        ConfigError: no run, a directory that is not empty, or what the run began with is missing or has changed.
        CheckpointError: no checkpoint is whole.
    """
    new_run.check_free(target)
    config = runs.load_config(workdir)
    tokenizer = tokenizers.load(workdir / "tokenizer")
    model = runs.make_model(workdir, config, tokenizer.tables)
    params, step = initial.load_parameters(workdir, config, model, tokenizer, report, ema=ema)
    if isinstance(model, Adapted):
        params = model.merge(params)
    merged = merged_config(config, target)
    with new_run.appearing(target) as directory:
        new_run.write(directory, merged, tokenizer, params, step=step)
    report(f"{workdir}, step {step}, finetune.method={config.finetune.method}: merged into {target}")


def merged_config(config, target):
    """The configuration of a merged run."""
    merged = copy.deepcopy(config)
    defaults = base.get_base()
    merged.name = target.name
    merged.model.update(methods.added(config))
    merged.finetune, merged.init = defaults.finetune, defaults.init
    merged.tokenizer.path = str((target / "tokenizer").absolute())
    if merged.model.feature_size or merged.model.feature_norm not in (None, "none"):  # fitted to examples, not trained
        merged.trainable = ((r"feature_transform/.*", False), (r".*", True))
    return merged
