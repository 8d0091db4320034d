"""The step of a plan, compiled in a process of its own as far as a plan needs: until its memory is assigned.

XLA for TPUs then spends most of its time on machine code, which no plan reads. Before that it writes the scheduled
program and the assignment of memory to files, if asked to (--xla_dump_to): when these are there, the process is ended.
"""

import dataclasses
import json
import multiprocessing
import os
import pathlib
import re
import tempfile
import time
import traceback
from typing import Any

import jax

from cloze.configs import base
from cloze.errors import ConfigError, UserError
from cloze.parallel import topologies
from cloze.training import planning

NAME = "train_step"  # of the function that is compiled, as XLA's files are called
LAST = f"*{NAME}*.after_optimizations_after_buffer_assignment.txt"  # what XLA writes when the others are there
TEXT = f"*{NAME}*.after_optimizations.txt"
ANSWER = "answer.json"  # of a process that comes to its end
REPORT = f"*{NAME}*.after_optimizations-memory-usage-report.txt"
_TOTAL = re.compile(r"Memory Space: default .*\nTotal bytes: (\d+)")


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A compiled step.

    Attributes:
        text: of the scheduled program.
        peak: bytes of a device's main memory that it needs, arguments included.
        refused: what the compiler said where it found no way to fit the step into memory; then the others say nothing.
    """

    text: str = ""
    peak: float = 0.0
    refused: str = ""


def compiled(config: Any, topology: topologies.Topology) -> Compiled:
    """The compiled step of a configuration.

    Args:
        config: a configuration; it stays as it is.
        topology: where it is to run, after `topologies.prepare`.

    Raises:
        ConfigError: as of `planning.planned`.
        RuntimeError: the compiler failed, other than for want of memory.
    """
    if topology.compiler != "tpu":
        return _whole(planning.planned(config, topology))
    with tempfile.TemporaryDirectory(prefix="cloze-compile-") as directory:
        directory = pathlib.Path(directory)
        arguments = base.to_dict(config), topology.text, directory
        process = multiprocessing.get_context("spawn").Process(target=_compile, args=arguments)
        process.start()
        while process.is_alive() and not list(directory.glob(LAST)):
            time.sleep(0.2)
        process.kill()
        process.join()
        return _read(directory)


def _compile(config, text, directory):
    """Runs in the other process."""
    os.environ["XLA_FLAGS"] = f"--xla_dump_to={directory} --xla_dump_hlo_as_text --xla_dump_hlo_module_re={NAME}"
    topology = topologies.parse(text)
    topologies.prepare(topology)
    try:
        answer = dataclasses.asdict(_whole(planning.planned(base.from_dict(config, "the plan"), topology)))
    except UserError as error:
        answer = {"wrong": str(error)}
    except Exception:
        answer = {"failed": traceback.format_exc()}
    (directory / ANSWER).write_text(json.dumps(answer))


def _read(directory):
    """The Compiled of a process that has ended."""
    texts, reports = (sorted(directory.glob(pattern)) for pattern in (TEXT, REPORT))
    if texts and reports and (total := _TOTAL.search(reports[-1].read_text())):
        return Compiled(texts[-1].read_text(), float(total[1]))
    answer = {"failed": "the process that compiles was ended by another"}
    if (directory / ANSWER).is_file():
        answer = json.loads((directory / ANSWER).read_text())
    if "wrong" in answer:
        raise ConfigError(answer["wrong"])
    if "failed" in answer:
        raise RuntimeError(answer["failed"])
    return Compiled(**answer)


def _whole(planned):
    """The step compiled to its end."""
    try:
        program = planned.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Compiled(refused=str(error).splitlines()[0].partition(" :: ")[0])
    sizes = program.memory_analysis()
    peak = sizes.argument_size_in_bytes + sizes.temp_size_in_bytes + sizes.output_size_in_bytes
    peak -= sizes.alias_size_in_bytes
    if planned.platform == "tpu":  # there, temp_size_in_bytes counts some arrays twice
        peak = sizes.peak_memory_in_bytes
    return Compiled(program.as_text(), peak)
