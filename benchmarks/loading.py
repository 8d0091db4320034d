"""Reading a Hugging Face directory: time, and host memory beyond what the devices hold.

    python -m benchmarks.loading                 # about 3 GB, on one and on eight fake CPU devices
    python -m benchmarks.loading --layers=4      # smaller

Writes a GPT-2 large (774M parameters, 3.1 GB) of random numbers into a temporary directory, reads it in a process of
its own for each mesh, and prints a table. CPU devices keep their arrays in the host's memory, so that what loading
costs is the largest resident set, less that before loading, less the bytes of the parameters.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from absl import app, flags

from benchmarks import tables

LAYERS = flags.DEFINE_integer("layers", 36, "Layers of the model.", lower_bound=1)
WIDTH = flags.DEFINE_integer("width", 1280, "Width of the model; heads are 64 wide.", lower_bound=64)
CHILD = flags.DEFINE_string("child", "", "Internal: a directory to load, and a number of devices, as JSON.")
MIB = 2**20


def write(directory):
    """Writes the directory; returns (bytes of all tensors, bytes of the largest)."""
    import numpy as np

    from cloze import models
    from cloze.interop import files, formats, plan, settings

    known, width = formats.get("gpt2"), WIDTH.value
    config = models.resolve(
        dict(family="gpt2", preset="large", layers=LAYERS.value, width=width, heads=width // 64, ffn=4 * width)
    )
    parts = plan.plan(known.rows("GPT2LMHeadModel"), known.base, config, plan.parameters(config))
    shapes = {part.theirs: part.theirs_shape for part in parts}
    (directory / "config.json").write_text(json.dumps(settings.write(known, "GPT2LMHeadModel", config, shapes)))
    rng = np.random.default_rng(0)
    dtype = np.dtype(np.float32)
    files.write_file(
        directory / files.SINGLE,
        shapes,
        dtype,
        lambda name: rng.standard_normal(shapes[name], dtype) * dtype.type(0.02),
    )
    sizes = [4 * int(np.prod(shape)) for shape in shapes.values()]
    return sum(sizes), max(sizes)


def resident():
    """(resident bytes that belong to this process alone, those that map files) now."""
    fields = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    return tuple(int(fields[key].split()[0]) * 1024 for key in ("RssAnon", "RssFile"))


class Peak(threading.Thread):
    """The largest resident sets while it runs, sampled every 5 ms."""

    def __init__(self):
        super().__init__(daemon=True)
        self.before = self.peak = resident()
        self._stop_asked = threading.Event()

    def run(self):
        while not self._stop_asked.wait(0.005):
            self.peak = tuple(map(max, self.peak, resident()))

    def stop(self):
        self._stop_asked.set()
        self.join()
        return tuple(peak - before for peak, before in zip(self.peak, self.before, strict=True))


def load(directory, devices):
    """Loads in this process; prints one line of JSON."""
    import jax

    from cloze import interop
    from cloze.parallel import mesh as meshes

    mesh = None
    if devices > 1:
        mesh = meshes.make_mesh(dict(data=1, fsdp=devices // 2, tensor=2, sequence=1))
    jax.block_until_ready(jax.numpy.zeros(1))
    peak = Peak()
    peak.start()
    began = time.perf_counter()
    _, params = interop.load_hf(directory, mesh)
    seconds = time.perf_counter() - began
    anonymous, mapped = peak.stop()
    held = sum(shard.data.nbytes for leaf in jax.tree.leaves(params) for shard in leaf.addressable_shards)
    found = dict(seconds=seconds, anonymous=anonymous, mapped=mapped, held=held)
    print(json.dumps(found))


def main(argv):
    """Prints a row for each mesh."""
    del argv
    if CHILD.value:
        load(**json.loads(CHILD.value))
        return
    with tempfile.TemporaryDirectory() as directory:
        total, largest = write(pathlib.Path(directory))
        sizes = f"{total / MIB:.0f} MiB in one file", f"the largest tensor {largest / MIB:.0f} MiB"
        print(tables.heading(*sizes))
        columns = ("held by devices", "peak beyond the devices' arrays", "of which pages of the mapped file")
        print(tables.head("devices", "seconds", *columns))
        for devices in (1, 8):
            flag = f"--xla_force_host_platform_device_count={devices}"
            child = json.dumps({"directory": directory, "devices": devices})
            environment = {**os.environ, "XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"}
            command = [sys.executable, "-m", "benchmarks.loading", f"--child={child}"]
            told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            found = json.loads(told.stdout.splitlines()[-1])
            beyond = found["anonymous"] + found["mapped"] - found["held"]
            memory = [f"{size / MIB:.0f} MiB" for size in (found["held"], beyond, found["mapped"])]
            print(tables.row(devices, f"{found['seconds']:.1f}", *memory), flush=True)


if __name__ == "__main__":
    app.run(main)
