"""The training step of a configuration for devices that are not there: no data, no parameters, no tokenizer.

Text of no meaning stands in for the data: shapes alone decide what is compiled. So every check of `training.run.build`
is made, and the step is the one that train.py would run.
"""

import contextlib
import copy
import dataclasses
import functools
import json
import pathlib
import tempfile
from typing import Any

import jax

from cloze.models.backends import choice
from cloze.models.platforms import planned_for
from cloze.parallel import cost, topologies
from cloze.parallel import mesh as meshes
from cloze.parallel.memory import Estimator
from cloze.training import methods, resolve
from cloze.training.program import Program
from cloze.training.run import build
from cloze.value_types import DURATION

_SENTENCE = "In {year} Marie Curie of Warsaw read the list of values and wrote a name into file {number}."
_DURATIONS = (("train", ("steps", "log_every", "eval_every")), ("checkpoint", ("every",)),
              ("optimizer", ("warmup_steps", "decay_steps")))  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Planned:
    """A step that can be traced and compiled.

    Attributes:
        platform: "tpu", "gpu" or "cpu": that it is traced for.
        program: training.program.Program of the run's first stage.
        rows: {name: jax.ShapeDtypeStruct} of a step, with shardings.
    """

    platform: str
    program: Program
    rows: dict[str, Any]

    @functools.cached_property
    def traced(self) -> jax.stages.Traced:
        """The traced step."""
        with _tracing(self.platform):
            return self.program.trace_train_step(self.rows)

    @functools.cached_property
    def estimator(self) -> Estimator:
        """What the step needs on one device, for any mesh, without compiling."""
        return self.program.estimator(self.traced, self.rows, self.platform)

    @functools.cached_property
    def flops(self) -> float:
        """Operations of all matrix products of a step, over all devices."""
        return cost.count_flops(self.traced.jaxpr)

    def compile(self) -> jax.stages.Compiled:
        """The compiled step; minutes for large models."""
        with self.program.run.context(), _tracing(self.platform):
            return self.traced.lower().compile()


def on_one_device(config: Any, topology: topologies.Topology) -> Planned:
    """The step as `planned` gives it, traced on one CPU device: enough to estimate what any mesh needs.

    Args:
        config: a configuration; it stays as it is.
        topology: where it is to run; names of mesh axes are those of its mesh, sizes are all 1.

    Raises:
        ConfigError, DataError: as of `training.run.build`.
    """
    config = copy.deepcopy(config)
    config.mesh.update(dict.fromkeys(meshes.MESH_AXES, 1) | {"slices": 0})
    return _planned(config, topology.platform, jax.devices("cpu")[:1])


def model_of(config: Any) -> Any:
    """The ModelConfig of a configuration."""
    return methods.model_config(config)


def mesh_of(config: Any, topology: topologies.Topology) -> dict[str, int]:
    """{axis: devices} of a configuration on a topology, checked.

    Raises:
        ConfigError: the devices, the batch or the model do not divide over it.
    """
    shape = meshes.mesh_shape(config.mesh, topology.devices)
    meshes.check_sizes(config, model_of(config), shape)
    return dict(zip(meshes.MESH_AXES, shape, strict=True))


def planned(config: Any, topology: topologies.Topology) -> Planned:
    """The step of a configuration as it can be compiled for a topology.

    Args:
        config: a configuration; it stays as it is.
        topology: where it is to run, after `topologies.prepare`.

    Raises:
        ConfigError, DataError: as of `training.run.build`.
    """
    return _planned(config, topology.compiler, topologies.devices(topology))


@contextlib.contextmanager
def _tracing(platform):
    """While this holds, what is traced is for `platform`. cuDNN has to be there to be traced: else kernels of our own,
    which keep as little, stand in for it.
    """
    missing = platform == "gpu" and jax.default_backend() != "gpu" and "cudnn" not in choice.UNFIT
    with planned_for(platform):
        if missing:
            choice.UNFIT["cudnn"] = "is not on this machine"
        try:
            yield
        finally:
            if missing:
                del choice.UNFIT["cudnn"]


def _planned(config, platform, devices):
    config = resolve.resolve(config)
    with tempfile.TemporaryDirectory(prefix="cloze-plan-") as directory, _tracing(platform):
        run = build(_without_data(config, pathlib.Path(directory)), devices=devices, report=lambda line: None)
        data = run.data["train"]
        row, size = data.batches(0, [0]), data.size(0)
    sharding = meshes.row_sharding(run.mesh)
    rows = {
        name: jax.ShapeDtypeStruct((size, *array.shape[1:]), array.dtype, sharding=sharding)
        for name, array in row.items()
    }
    return Planned(platform, run.program(), rows)


def _without_data(config, directory):
    """The configuration with text that stands in for its data, and without anything that only a new state reads."""
    config = copy.deepcopy(config)
    config.init.checkpoint = ""
    if not config.task.name:
        text = directory / "text.jsonl"
        sentences = 200 + config.data.sequence_length
        lines = [_SENTENCE.format(year=1900 + n % 100, number=n) for n in range(sentences)]
        documents = (" ".join(lines[n : n + 8]) for n in range(0, len(lines), 8))
        text.write_text("".join(json.dumps({config.data.text_field: text}) + "\n" for text in documents))
        config.data.source = config.data.validation_source = f"jsonl:{text}"
        config.data.cache_dir = str(directory)
        config.tokenizer.path = ""
        config.tokenizer.training_bytes = 10_000
    for section, names in _DURATIONS:
        for name in names:
            value = config[section].get(name)
            if isinstance(value, str) and (match := DURATION.fullmatch(value)) and (match[2] or "").startswith("epoch"):
                config[section][name] = 1000  # of the stand-in, epochs say nothing
    return config
