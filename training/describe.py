"""What a newcomer should see of a run before it starts."""

import collections

from cloze import models, options
from cloze.configs import base
from cloze.data.tokenizers import TokenizerOptions
from cloze.models.config import PositionOptions
from cloze.models.positions import SCHEMES
from cloze.tasks.base import TaskOptions
from cloze.training import trainable
from cloze.training.workdir import differences


def parameter_table(program):
    """Lines that list the parameters by group, trainable and frozen."""
    config = program.model.config
    trains = program.split.trainable_shapes()
    groups = collections.defaultdict(lambda: [0, 0])
    for name, shape in program.run.shapes.items():
        group = name.rsplit("/", 2)[0] if "/layers/" in name else name.rsplit("/", 1)[0]
        everything = trainable.count({name: shape}, program.run.axis_names, config)
        training = trainable.count({name: trains[name]}, program.run.axis_names, config) if name in trains else 0
        groups[group][0] += training
        groups[group][1] += everything - training
    width = max(map(len, groups))
    lines = [f"  {'parameters':<{width}}  {'trainable':>15}  {'frozen':>15}"]
    for group, (training, frozen) in groups.items():
        lines.append(f"  {group:<{width}}  {training:>15,}  {frozen:>15,}")
    total, training = program.parameter_counts()
    lines.append(f"  {'total':<{width}}  {training:>15,}  {total - training:>15,}")
    return [f"Model {config.family}/{config.preset}, {config.architecture}:", *lines]


def differences_from_base(config, log):
    """What the configuration changes in configs/base.py, and of that, what the run does not read."""
    log("Configuration, where it differs from configs/base.py:")
    reasons = unread(config)
    for key, _, value in differences(base.to_dict(base.like(config)), base.to_dict(config)):
        log(f"  {key} = {value!r}" + (f" (not read: {reasons[key]})" if key in reasons else ""))


def unread(config):
    """{option: why a run of this configuration does not read it}, of those that configs may set all the same."""
    positions = models.resolve(config.model).positions
    theirs = set(options.declared(PositionOptions)) - set(options.declared(SCHEMES[positions]))
    reasons = {f"model.{name}": f"model.positions is {positions}" for name in theirs}
    if config.tokenizer.path:
        learning = set(options.declared(TokenizerOptions)) - {"path", "kind", "sentinels"}
        reasons |= {f"tokenizer.{name}": "tokenizer.path is given" for name in learning}
    if not config.task.name:
        reasons |= {f"task.{name}": "there is no task.name" for name in options.declared(TaskOptions)}
    return reasons


def run_lines(program, log):
    """Parameters and data."""
    for line in parameter_table(program):
        log(line)
    data = program.run.data["train"]
    log(f"Data {data.fingerprint[:16]}: {data.description}")
