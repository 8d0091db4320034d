"""Two real processes load one directory: each reads the shards of its own devices, and both compute the same."""

import os
import socket
import subprocess
import sys

import pytest

from tests.faults import CHAOS
from tests.interop import fakes
from tests.verbs import ROOT, environment

SCRIPT = """
import sys
import jax, numpy as np
import flax.linen as nn
jax.config.update("jax_cpu_collectives_implementation", "gloo")
directory, port, process = sys.argv[1:]
jax.distributed.initialize(f"localhost:{port}", 2, int(process))
from cloze import interop
from cloze import models
from cloze.parallel import mesh as meshes
mesh = meshes.make_mesh(dict(data=1, fsdp=2, tensor=1, sequence=1))
model, params = interop.load_hf(directory, mesh)
kernel = params["decoder"]["layers"]["ffn"]["up"]["kernel"]
assert kernel.shape == (2, 32, 128) and [s.data.shape for s in kernel.addressable_shards] == [(2, 16, 128)]
tokens = jax.device_put(np.arange(8, dtype=np.int32).reshape(2, 4), meshes.replicated(mesh))
with jax.set_mesh(mesh), nn.logical_axis_rules(meshes.RULES):
    everywhere = meshes.replicated(mesh)
    run = jax.jit(lambda p: model.apply({"params": p}, {"tokens": tokens}).logits, out_shardings=everywhere)
    logits = np.asarray(run(params).addressable_shards[0].data)
print("LOGITS", repr(float(np.abs(logits).sum())))
"""


@pytest.mark.skipif(not CHAOS, reason="a part of `make processes`")
def test_two_processes_load_what_one_loads(tmp_path):
    import jax
    import numpy as np

    from cloze import interop

    fakes.write(tmp_path, "gpt2", "GPT2LMHeadModel")
    model, params = interop.load_hf(tmp_path)
    tokens = np.arange(8, dtype=np.int32).reshape(2, 4)
    expected = float(np.abs(jax.jit(model.apply)({"params": params}, {"tokens": tokens}).logits).sum())
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        port = str(listener.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path), port, str(i)], cwd=ROOT, text=True,
            env={**environment(), "PYTHONPATH": os.fspath(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for i in range(2)
    ]  # fmt: skip
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        found = float(output.split("LOGITS ")[1].split()[0])
        assert abs(found - expected) < 1e-4 * expected
