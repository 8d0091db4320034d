"""What a newcomer should see of a run before it starts."""

import collections

from cloze.configs import base
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
    """What the configuration changes in configs/base.py."""
    log("Configuration, where it differs from configs/base.py:")
    for key, _, value in differences(base.to_dict(base.like(config)), base.to_dict(config)):
        log(f"  {key} = {value!r}")


def run_lines(program, log):
    """Parameters and data."""
    for line in parameter_table(program):
        log(line)
    data = program.run.data["train"]
    log(f"Data {data.fingerprint[:16]}: {data.description}")
