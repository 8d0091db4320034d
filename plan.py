"""Plans a run for devices that are not there: what its training step needs, how long it takes, what bounds it.

    python plan.py --config=configs/gpt3.py:size=175b --topology=v5p:8x8x16
    python plan.py --config=configs/t5.py:size=11b --topology=v5p:4x4x4 --mesh=fsdp:8,tensor:8 --price=4.2
    python plan.py --config=configs/bert.py:size=large --topology=v5e:4x4 --search
    python plan.py --config=configs/gpt2.py --topology=h100:8 --estimate
    python plan.py --compute=1e21 --optimal --topology=v5e:16x16

The step that train.py would run is compiled for the topology: a slice of TPUs (v4:2x2x2, v5p:8x8x16, two slices
v5e:16x16*2), GPUs (h100:8) or fake CPU devices (cpu:8). No device, no data and no parameters are needed; for TPUs
libtpu is: pip install -e '.[plan]'. --estimate compiles nothing. docs/scaling.md says what the figures mean.
"""

import json
import pathlib

from absl import flags
from ml_collections import config_flags

from cloze import cli
from cloze.errors import ConfigError
from cloze.options import suggest

CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, and after a colon its arguments.")
TOPOLOGY = flags.DEFINE_string("topology", "", "Devices to plan for, such as v5p:4x4x4, h100:8 or cpu:8.")
MESH = flags.DEFINE_string("mesh", "", "Sizes of mesh axes, such as fsdp:16,tensor:4; the others are 1.")
ESTIMATE = flags.DEFINE_bool("estimate", False, "Compile nothing: estimate memory and time in seconds.")
SEARCH = flags.DEFINE_bool("search", False, "Try meshes, microbatches and remat, and compile the best few that fit.")
BEST = flags.DEFINE_integer("best", 2, "How many of a search are compiled.", lower_bound=0)
TOKENS = flags.DEFINE_float("tokens", None, "Tokens of the run, in place of train.steps.", lower_bound=1)
PRICE = flags.DEFINE_float("price", None, "Of a chip for an hour, in any currency.", lower_bound=0)
COMPUTE = flags.DEFINE_float(
    "compute", None, "Instead of a config: a budget of operations, such as 1e21.", lower_bound=1
)
OPTIMAL = flags.DEFINE_bool("optimal", False, "With --compute: the sizes that the budget is best spent on.")
MFU = flags.DEFINE_float("mfu", 0.4, "With --compute: share of the chips' rate that is reached.", 0.001, 1.0)
WORKDIR = flags.DEFINE_string("workdir", "", "Instead of a config: a run, whose measured steps are held to its plan.")
JSON = flags.DEFINE_string("json", "", "File for the plan as JSON; - is standard output.")
PICTURE = flags.DEFINE_string("picture", "", "File for a picture of the plan: .png, .svg or .pdf.")
HLO = flags.DEFINE_string("hlo", "", "File for the text of the compiled program.")


def main():
    """Plans a run, searches for the best way to run it, or calculates with a budget."""
    asked = [
        name for name, flag in (("--config", CONFIG), ("--compute", COMPUTE), ("--workdir", WORKDIR)) if flag.value
    ]
    if len(asked) != 1:
        raise ConfigError(f"one of --config, --compute and --workdir is required, got {' and '.join(asked) or 'none'}")
    from cloze.parallel import topologies

    if PICTURE.value:
        from cloze.training import plan_picture

        plan_picture.check(PICTURE.value)
    if COMPUTE.value:
        calculate(topologies.parse(TOPOLOGY.value) if TOPOLOGY.value else None)
        return
    if WORKDIR.value:
        compare(pathlib.Path(WORKDIR.value))
        return
    if not TOPOLOGY.value:
        raise ConfigError("--topology is required, such as v5p:4x4x4, h100:8 or cpu:8 (see --help)")
    topology = topologies.parse(TOPOLOGY.value)
    config = with_mesh(CONFIG.value)
    topologies.prepare(topology, compiles=not ESTIMATE.value)
    made = search(config, topology) if SEARCH.value else [plan(config, topology)]
    write(made)


def with_mesh(config):
    """The configuration with the mesh of --mesh."""
    from cloze.parallel.mesh import MESH_AXES

    if not MESH.value:
        return config
    config.mesh.update(dict.fromkeys(MESH_AXES, 1))
    for part in MESH.value.split(","):
        axis, _, size = part.strip().partition(":")
        if axis not in MESH_AXES or not size.removeprefix("-").isdigit():
            hint = suggest(axis, MESH_AXES) if axis not in MESH_AXES else "."
            raise ConfigError(
                f"--mesh={MESH.value!r}: cannot read {part!r}{hint or '.'} Write fsdp:16,tensor:4 with axes out of "
                f"{', '.join(MESH_AXES)}; one size may be -1"
            )
        config.mesh[axis] = int(size)
    return config


def plan(config, topology):
    """The plan of a configuration; where it does not fit, it is said what would."""
    from cloze.training import plan_search, plans

    keep = pathlib.Path(HLO.value).write_text if HLO.value else None
    made = plans.make(config, topology, not ESTIMATE.value, TOKENS.value, PRICE.value, keep)
    print("\n".join(made.lines()), flush=True)
    if made.spare < 0 or made.refused:
        print("Looking for settings that fit ...", flush=True)
        print("\n".join(plan_search.advice(config, topology, topology.chip.device_memory)), flush=True)
    return made


def search(config, topology):
    """Prints the fastest settings that fit by the estimate, and plans the best few."""
    from cloze.training import plan_search, plans

    if topology.chip is None:
        raise ConfigError("--search needs devices with a data sheet, to know what fits: such as --topology=v5e:4x4")
    print("Estimating:", flush=True)
    found = plan_search.candidates(config, topology, report=lambda line: print(line, flush=True))
    fitting = plan_search.fastest(found, topology.chip.device_memory)
    print(f"{len(fitting)} of {len(found)} settings fit; the fastest, by the estimate:")
    print("\n".join(f"  {candidate.line()}" for candidate in fitting[:10]), flush=True)
    if not fitting:
        print("\n".join(plan_search.advice(config, topology, topology.chip.device_memory, found)))
    made = []
    for candidate in [] if ESTIMATE.value else fitting[: BEST.value]:
        chosen = plan_search.apply(config, candidate)
        made.append(plans.make(chosen, topology, tokens=TOKENS.value, price=PRICE.value))
        print("\n".join(["", f"Compiled: {' '.join(candidate.changes) or 'as the config has it'}", *made[-1].lines()]))
    if len(made) > 1:
        best = min((one for one in made if one.spare >= 0), key=lambda one: one.time.seconds, default=None)
        print(f"\nBest as compiled: {best.mesh}, {best.settings}" if best else "\nNone of these fits as compiled")
    return made


def calculate(topology):
    """Prints what a budget of operations buys."""
    from cloze.parallel import compute

    rate = None
    if topology is not None:
        if topology.chip is None:
            raise ConfigError("--compute with --topology needs devices with a data sheet, such as v5e:16x16")
        rate = topology.devices * topology.chip.rate("bfloat16") * MFU.value
    count = topology.chips if topology else 0
    print("\n".join(compute.lines(COMPUTE.value, OPTIMAL.value, rate, count, PRICE.value)))
    if JSON.value:
        _write_json(compute.to_dict(COMPUTE.value))


def compare(workdir):
    """Prints a run's measured steps beside the prediction for the devices of --topology, on which it ran."""
    from cloze.configs import base
    from cloze.parallel import topologies
    from cloze.training import plans

    topology = topologies.parse(TOPOLOGY.value) if TOPOLOGY.value else None
    if topology is None or topology.chip is None:
        raise ConfigError("--workdir needs --topology, the devices on which the run was made, such as v5e:4x4")
    measured = plans.measured(workdir)
    topologies.prepare(topology, compiles=not ESTIMATE.value)
    made = plans.make(base.load(workdir / "config.json"), topology, compiles=not ESTIMATE.value)
    print("\n".join([*made.lines(), *plans.compared(made, measured)]))
    write([made])


def write(made):
    """Writes the files that --json and --picture ask for."""
    if PICTURE.value and made:
        from cloze.training import plan_picture

        plan_picture.draw(made, PICTURE.value)
    if JSON.value:
        found = [one.to_dict() for one in made]
        _write_json(found if SEARCH.value else found[0])


def _write_json(found):
    text = json.dumps(found, indent=2)
    if JSON.value == "-":
        print(text)
    else:
        pathlib.Path(JSON.value).write_text(text + "\n")


if __name__ == "__main__":
    cli.run(main, __doc__)
