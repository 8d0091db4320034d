"""What a plan says: memory, products, transfers, time and price of a run on devices that are not there."""

import dataclasses
import json
import math
import statistics
from typing import Any

from cloze.errors import ConfigError
from cloze.parallel import collectives as transfers
from cloze.parallel import hlo, roofline, topologies
from cloze.parallel import mesh as meshes
from cloze.parallel.cost import human
from cloze.parallel.memory import Estimate
from cloze.training import compiling, planning, trainable
from cloze.value_types import DURATION

GIB = 2**30
DAY = 86400
HOPELESS = 1.5  # times the memory of a device: XLA takes many minutes to find that this does not fit


@dataclasses.dataclass(frozen=True)
class Plan:
    """A plan.

    Attributes:
        name: of the experiment.
        topology: topologies.Topology.
        mesh: {axis: devices}.
        settings: {"batch_size", "microbatches", "remat", "dtype", "parameters"}.
        estimate: memory.Estimate.
        compiled: {"arguments", "temporaries", "peak"} in bytes on one device; None: nothing was compiled.
        work: roofline.Work.
        time: roofline.Roofline; None: the topology has no chip.
        collectives: those of the compiled program.
        model_flops: operations of a step as published MFU counts them.
        steps: length of the run; None: it is given in epochs of data that are not known.
        price: of a chip for an hour, or None.
        refused: why there is no compiled program, though one was asked for: it does not fit; else "".
    """

    name: str
    topology: Any
    mesh: dict[str, int]
    settings: dict[str, Any]
    estimate: Estimate
    compiled: dict[str, float] | None
    work: roofline.Work
    time: roofline.Roofline | None
    collectives: list
    model_flops: float
    steps: int | None
    price: float | None = None
    refused: str = ""

    @property
    def peak(self) -> float:
        """Bytes that one device needs."""
        return self.compiled["peak"] if self.compiled else self.estimate.peak

    @property
    def spare(self) -> float:
        """Bytes left on a device; negative: that are missing; inf: the topology has no chip."""
        return self.topology.chip.device_memory - self.peak if self.topology.chip else math.inf

    @property
    def mfu(self) -> float:
        """Share of the chips' rate that the products of a step take, as executed."""
        return self._mfu(self.work.flops)

    @property
    def published_mfu(self) -> float:
        """The same with operations as published figures count them."""
        return self._mfu(self.model_flops)

    def _mfu(self, flops):
        chip = self.topology.chip
        rate = chip.rate("bfloat16" if chip.is_tpu else self.work.dtype)
        return flops / self.topology.devices / self.time.seconds / rate

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it; bytes and operations are of one device, `flops` of all."""
        found = {
            "name": self.name, "topology": self.topology.text, "chips": self.topology.chips,
            "devices": self.topology.devices, "mesh": self.mesh, **self.settings,
            "memory": {"estimate": self.estimate.parts(), "compiled": self.compiled},
            "refused": self.refused,
            "flops": self.work.flops, "model_flops": self.model_flops, "tokens": self.work.tokens, "steps": self.steps,
            "collectives": [
                {"kind": c.kind, "axes": list(c.axes), "devices": len(c.members), "bytes": c.bytes, "times": c.times}
                for c in self.collectives
            ],
        }  # fmt: skip
        if self.topology.chip:
            found["memory"]["available"] = self.topology.chip.device_memory
            found["fits"] = self.spare >= 0 and not self.refused
        if self.time:
            found |= {
                "seconds": self.time.seconds, "bound": self.time.bound, "mfu": self.mfu,
                "published_mfu": self.published_mfu, "tokens_per_second": self.work.tokens / self.time.seconds,
                "roofline": dataclasses.asdict(self.time),
                **self._run(),
            }  # fmt: skip
        return found

    def _run(self):
        """{"days", "chip_hours", "cost"} of the whole run, as far as its length and the price are known."""
        if self.steps is None:
            return {}
        seconds = self.steps * self.time.seconds
        found = {"days": seconds / DAY, "chip_hours": seconds / 3600 * self.topology.chips}
        return found | ({"cost": found["chip_hours"] * self.price} if self.price else {})

    def lines(self) -> list[str]:
        """The plan for people."""
        shown = ", ".join(f"{axis} {size}" for axis, size in self.mesh.items())
        s = self.settings
        lines = [
            f"{self.name} on {self.topology.text}: {self.topology.chips:,} chips, {self.topology.devices:,} devices",
            f"  {human(s['parameters'])} parameters; mesh: {shown}; {s['batch_size']:,} rows in {s['microbatches']} "
            f"microbatches, remat {s['remat']}, {s['dtype']}",
            *self._memory_lines(),
            f"Operations of a step: {human(self.work.flops)} as executed, {human(self.model_flops)} by 6 N + 12 L d S "
            f"for each of {human(self.work.tokens)} tokens",
        ]
        if self.time and self.time.traffic and self.compiled:
            lines[-1] += f"; {human(self.time.flops)} on each device, as compiled"
        return [*lines, *self._collective_lines(), *self._time_lines()]

    def _memory_lines(self):
        parts, compiled = self.estimate.parts(), self.compiled or {}
        lines = ["Memory of a device, GiB      estimate" + ("  compiled" if compiled else "")]
        for name in ("parameters", "optimizer", "rows", "gradients", "activations", "peak"):
            measured = f"  {compiled['peak'] / GIB:8.2f}" if name == "peak" and compiled else ""
            lines.append(f"  {name:<24}  {parts[name] / GIB:9.2f}{measured}")
        if compiled:
            lines.append(
                f"  (compiled: arguments {compiled['arguments'] / GIB:.2f}, temporaries "
                f"{compiled['temporaries'] / GIB:.2f}; the estimate is off by "
                f"{100 * (parts['peak'] / compiled['peak'] - 1):+.0f}%)"
            )
        if self.topology.chip:
            available = self.topology.chip.device_memory / GIB
            verdict = f"fits, {self.spare / GIB:.2f} to spare"
            if self.spare < 0 or self.refused:
                excess = [f"{-self.spare / GIB:.2f} too much"] if self.spare < 0 else []
                verdict = f"does NOT fit: {'; '.join([*excess, *filter(None, [self.refused])])}"
            lines.append(f"  of {available:.2f} on a {self.topology.chip.name}: {verdict}")
        return lines

    def _collective_lines(self):
        if not self.collectives:
            return []
        lines = ["Collectives of a step         axis            devices  MB each    times  GB sent by a device"]
        for one in self.collectives[:12]:
            lines.append(
                f"  {one.kind:<26}  {'+'.join(one.axes) or '-':<14}  {len(one.members):>7}  {one.bytes / 1e6:7.1f}  "
                f"{one.times:>7,}  {one.sent * one.times / 1e9:10.2f}"
            )
        if rest := self.collectives[12:]:
            lines.append(f"  and {len(rest)} smaller: {sum(c.sent * c.times for c in rest) / 1e9:.2f} GB")
        return lines

    def _time_lines(self):
        if self.time is None:
            return ["No time is predicted for fake CPU devices: give a topology with a chip, such as v5p:4x4x4"]
        t = self.time
        network = (
            ", ".join(f"{axes} {seconds:.3g} s" for axes, seconds in t.network.items() if seconds > 1e-6) or "none"
        )
        lines = [
            f"Step: {t.seconds:.3g} s predicted, bound by {t.bound}: products {t.products:.3g} s, memory "
            f"{t.memory:.3g} s, waiting for the network {t.waiting:.3g} s (transfers: {network})",
            f"MFU {100 * self.mfu:.1f}% as executed, {100 * self.published_mfu:.1f}% as published figures count; "
            f"{human(self.work.tokens / t.seconds)} tokens/s",
        ]
        if self.steps is None:
            return [*lines, "The run's length is in epochs of data that are not looked at: --tokens gives it"]
        run = self._run()
        cost = f", {run['cost']:,.0f} at {self.price:g} for a chip-hour" if "cost" in run else ""
        lines.append(
            f"Run: {self.steps:,} steps, {human(self.steps * self.work.tokens)} tokens: {run['days']:.1f} days, "
            f"{run['chip_hours']:,.0f} chip-hours{cost}"
        )
        return lines


def work_of(planned: planning.Planned) -> roofline.Work:
    """The totals of a step."""
    program = planned.program
    config, model = program.run.config, program.model.config
    return roofline.Work(
        flops=planned.flops,
        tokens=config.train.batch_size * config.data.sequence_length,
        width=model.width,
        layers=model.layers + model.decoder_layers,
        parameters=sum(math.prod(shape) for shape in program.run.shapes.values()),
        microbatches=config.train.microbatches,
        recomputes=model.remat != "none",
        dtype=model.dtype,
    )


def make(config: Any, topology: Any, compiles: bool = True, tokens: float | None = None, price=None, keep=None) -> Plan:
    """The plan of a configuration.

    Args:
        config: a configuration; it stays as it is.
        topology: topologies.Topology, after `topologies.prepare`.
        compiles: whether to compile the step; else all is estimated.
        tokens: length of the run, in place of the configuration's.
        price: of a chip for an hour.
        keep: called with the text of the compiled program, if any.

    Raises:
        ConfigError, DataError: what is wrong and how to mend it.
    """
    mesh = planning.mesh_of(config, topology)
    planned = planning.on_one_device(config, topology)
    estimate, work = planned.estimator(mesh), work_of(planned)
    time = roofline.of_estimate(work, topology, mesh, estimate) if topology.chip else None
    compiled, collectives, refused = None, [], ""
    if compiles and topology.chip and estimate.peak > HOPELESS * topology.chip.device_memory:
        refused = f"not compiled, as the estimate is above {HOPELESS:g} times that"
    elif compiles:
        compiled, collectives, measured, refused = _compiled(config, topology, mesh, work, keep)
        time = measured or time
    program, model = planned.program, planned.program.model.config
    counted = trainable.count(program.run.shapes, program.run.axis_names, model)
    shapes, axis_names = program.run.shapes, program.run.axis_names
    positions = sum(math.prod(shape) for name, shape in shapes.items() if "positions" in axis_names[name])
    return Plan(
        name=config.name,
        topology=topology,
        mesh=mesh,
        settings={
            "batch_size": config.train.batch_size, "microbatches": config.train.microbatches, "remat": model.remat,
            "dtype": model.dtype, "parameters": counted,
        },
        estimate=estimate,
        compiled=compiled,
        work=work,
        time=time,
        collectives=collectives,
        model_flops=roofline.model_flops(
            counted - positions, work.layers, work.width, config.data.sequence_length, work.tokens
        ),
        steps=_steps(config, program, tokens, work),
        price=price,
        refused=refused,
    )  # fmt: skip


def _compiled(config, topology, mesh, work, keep):
    """(memory, collectives, Roofline of a TPU or None, why the compiler refused it or "") of the compiled step."""
    found = compiling.compiled(config, topology)
    if found.refused:
        return None, [], None, f"the compiler says {found.refused}"
    if keep is not None:
        keep(found.text)
    module = hlo.Module(found.text)
    time = None
    if topology.platform == "tpu":
        devices = meshes.make_mesh(config.mesh, topologies.devices(topology))
        time = roofline.of_program(module, topology, devices, work.dtype, work.flops / topology.devices)
    arguments = module.argument_bytes()
    sizes = {"arguments": arguments, "temporaries": found.peak - arguments, "peak": found.peak}
    return sizes, transfers.of(module, mesh), time, ""


def _steps(config, program, tokens, work):
    if tokens is not None:
        return math.ceil(tokens / work.tokens)
    match = DURATION.fullmatch(str(config.train.steps))
    return None if match and (match[2] or "").startswith("epoch") else program.run.durations["steps"]


def measured(workdir: Any) -> dict[str, float]:
    """Medians of a run's own steps, {"seconds", "tokens_per_second", "mfu"}, the first line left out.

    Raises:
        ConfigError: there is no run, or it has logged too little.
    """
    file = workdir / "metrics.jsonl"
    if not file.is_file():
        raise ConfigError(f"there is no {file}: name the directory of a run in --workdir")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines = [line for line in lines if line["split"] == "train" and "seconds" in line][1:]
    if not lines:
        raise ConfigError(f"{file} has no more than one line of training: let the run log more steps")
    return {name: statistics.median(line[name] for line in lines) for name in ("seconds", "tokens_per_second", "mfu")}


def compared(plan: Plan, measured: dict[str, float]) -> list[str]:
    """Lines that hold a plan to what was measured."""
    predicted = {
        "seconds": plan.time.seconds,
        "tokens_per_second": plan.work.tokens / plan.time.seconds,
        "mfu": plan.mfu,
    }
    return [f"  {'':<18}{'predicted':>12}{'measured':>12}{'error':>12}"] + [
        f"  {name:<18}{value:>12.4g}{measured[name]:>12.4g}{100 * (value / measured[name] - 1):>+11.0f}%"
        for name, value in predicted.items()
    ]
