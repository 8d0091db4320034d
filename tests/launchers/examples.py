"""Jobs, and launchers that start them on one host, several hosts and several slices, with TPUs and GPUs."""

import dataclasses
import os
import pathlib
import subprocess

from cloze import options
from cloze.launchers import LAUNCHERS, Job

MOUNT = "/mnt/cloze"
ARGUMENTS = ("--config=configs/bert_base.py:tiny", "--config.train.steps=10", f"--workdir={MOUNT}/runs/bert")
JOB = Job(
    name="bert", verb="train", arguments=ARGUMENTS, workdir=f"{MOUNT}/runs/bert", cache=f"{MOUNT}/cache",
    local=("python", "train.py", *ARGUMENTS), folder="/", checkout="/checkout",
)  # fmt: skip

TPUS = {  # case: (options, slices, hosts of a slice, chips of a host)
    "one host": (dict(accelerator="v5e", topology="2x4"), 1, 1, 8),
    "one chip": (dict(accelerator="v6e", topology="1x1"), 1, 1, 1),
    "several hosts": (dict(accelerator="v5p", topology="2x2x4"), 1, 4, 4),
    "several slices": (dict(accelerator="v4", topology="4x4x8", slices=3), 3, 32, 4),
}
GPUS = {
    "one machine": (dict(accelerator="nvidia-h100-80gb", gpus_per_node=8), 1, 1, 8),
    "several machines": (dict(accelerator="nvidia-l4", nodes=4), 1, 4, 1),
}
REQUIRED = {  # what a launcher cannot do without
    "jobset": dict(image="registry/cloze:1", claim="runs"),
    "gcluster": dict(image="registry/cloze:1", storage="runs", cluster="pool", location="us-central1"),
    "skypilot": dict(bucket="gs://bucket"),
    "tpu_vm": dict(zone="us-central2-b", nfs="10.0.0.2:/share"),
    "slurm": {},
}


def launcher(backend, **given):
    """A launcher with the options that it needs and some that are given."""
    cls = LAUNCHERS[backend]
    section = options.section(cls, **REQUIRED[backend], **given)
    options.check(cls, section, "job")
    return cls(**options.read(cls, section))


def cases(backend, *tables):
    """[(id, launcher, slices, hosts, chips)] of every case that the backend has."""
    found = []
    for name, (given, *size) in {key: case for table in tables for key, case in table.items()}.items():
        if backend == "skypilot" and given.get("slices", 1) > 1:
            continue
        found.append((name, launcher(backend, **given), *size))
    return found


def with_argument(value):
    """The job with one more argument."""
    flag = f"--config.data.source={value}"
    return dataclasses.replace(JOB, arguments=(*ARGUMENTS, flag), local=("python", "train.py", *ARGUMENTS, flag))


def commands(folder, **scripts):
    """Puts commands into a folder: {name: lines of bash}.

    Returns:
        An environment in which they come before all others.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


RECORD = 'printf \'%s\\0\' "$@" > "$RECORD"'  # bash: keeps the arguments of a command


def recorded(path):
    """The arguments that `RECORD` has kept."""
    return tuple(path.read_bytes().decode().split("\0")[:-1])


def run(command, environment, **more):
    """Runs a command and returns it with its output."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, **more)


def kubelet(words, **environment):
    """The words of a container's command as the kubelet hands them on: $(NAME) is replaced, and $$ is $.

    As kubernetes' third_party/forked/golang/expansion does it.
    """
    return tuple(_expanded(word, environment) for word in words)


def _expanded(word, environment):
    done, rest = "", word
    while rest:
        before, dollar, rest = rest.partition("$")
        done += before
        if not dollar:
            break
        name, closed, after = rest[1:].partition(")")
        if rest.startswith("(") and closed:
            done += environment.get(name, f"$({name})")
            rest = after
        elif rest.startswith("$"):
            done, rest = done + "$", rest[1:]
        else:
            done, rest = done + "$" + rest[:1], rest[1:]
    return done
