"""What experiments of all families share: how a tiny run is made, and where a full one runs.

The families themselves are in encoders.py, decoders.py and encoder_decoders.py; a config file adds the size, the rate
and the devices.

Every schedule has its length written out (`optimizer.decay_steps`), so that `train.steps` only says where a run stops:
a run of ten steps is the first ten of the published one, and goes on when `train.steps` is raised. To train longer
than published, raise both. Only finetuning (finetuning.py) leaves it out: there the schedule is as long as the run.
"""

# Three to four minutes on two CPU cores. The preset stays and only sizes change, so a tiny run has the block, the
# objective, the optimizer and the shape of the schedule of the full one. No dropout: a run this short does not overfit.
TINY_MODEL = dict(
    width=192, heads=3, ffn=768, vocab_size=4096, dropout=0.0, attention_dropout=0.0
)  # fmt: skip
TINY_RUN = dict(log_every=20, eval_every=250, batch_size=16)


def place(c, devices, microbatches=1, remat="none", fsdp=False, tensor=1):
    """Where an experiment runs; sized for devices of 80 GB by estimates, not by measurements.

    One axis of the mesh is -1, so the same command takes more or fewer devices than the experiment is meant for. At
    most 8 microbatches, so that a batch of 8 rows can be tried on any machine.

    Args:
        c: the configuration, changed in place.
        devices: number that the experiment is meant for. One computes in float32, which a CPU is fast in; more are
            accelerators and compute in bfloat16.
        microbatches: parts of a step's batch.
        remat: what is recomputed in the backward pass.
        fsdp: cut parameters over the devices instead of copying them.
        tensor: devices along the tensor axis.
    """
    c.devices = devices
    c.train.microbatches = microbatches
    c.model.update(dtype="float32" if devices == 1 else "bfloat16", remat=remat)
    c.mesh.update(data=1 if fsdp else -1, fsdp=-1 if fsdp else 1, tensor=tensor)


def shrink(c, tiny):
    """Makes the tiny version of an experiment, on one device."""
    place(c, devices=1)
    c.update(tiny)
