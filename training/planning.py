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

from cloze.configs import base
from cloze.parallel import mesh as meshes
from cloze.parallel import topologies
from cloze.training import resolve
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
        topology: topologies.Topology.
        program: training.program.Program of the run's first stage.
        rows: {name: jax.ShapeDtypeStruct} of a step, with shardings.
    """

    topology: topologies.Topology
    program: Program
    rows: dict[str, Any]

    @functools.cached_property
    def traced(self) -> jax.stages.Traced:
        """The traced step."""
        with topologies.tracing_for(self.topology.platform):
            return self.program.trace_train_step(self.rows)

    def compile(self) -> jax.stages.Compiled:
        """The compiled step; minutes for large models."""
        with self.program.run.context(), topologies.tracing_for(self.topology.platform):
            return self.traced.lower().compile()


def planned(config: Any, topology: topologies.Topology, devices: list | None = None) -> Planned:
    """The step of a configuration on a topology.

    Args:
        config: a configuration; it stays as it is.
        topology: where it is to run.
        devices: its devices; None: `topologies.devices`.

    Raises:
        ConfigError, DataError: as of `training.run.build`.
    """
    devices = topologies.devices(topology) if devices is None else devices
    config = resolve.resolve(config)
    with tempfile.TemporaryDirectory(prefix="cloze-plan-") as directory, topologies.tracing_for(topology.platform):
        run = build(_without_data(config, pathlib.Path(directory)), devices=devices, report=lambda line: None)
        data = run.data["train"]
        row, size = data.batches(0, [0]), data.size(0)
    sharding = meshes.row_sharding(run.mesh)
    rows = {
        name: jax.ShapeDtypeStruct((size, *array.shape[1:]), array.dtype, sharding=sharding)
        for name, array in row.items()
    }
    return Planned(topology, run.program(), rows)


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
