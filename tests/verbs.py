"""Verbs as a user meets them: a process of their own, its messages and its exit code.

`run` forks each from one process that has imported what they need, which saves most of the seconds that a verb takes
to start; nothing else differs from `python train.py ...`, which `start` does.
"""

import atexit
import dataclasses
import importlib.metadata
import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[1]
TIMEOUT = 300
FAST = "--xla_backend_optimization_level=0"
if importlib.metadata.version("jaxlib").startswith("0.10."):  # others end at a flag that they do not know
    # Compiles in a third of the time; and in one piece, not in 32 that share out the work of no other core.
    FAST += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
SMALL = (
    "data.sequence_length=32 train.batch_size=4 train.steps=4 train.log_every=1 train.eval_every=4 "
    "train.eval_batches=1 checkpoint.every=2 model.layers=1 model.width=32 model.heads=2 model.ffn=32 "
    "model.vocab_size=256 tokenizer.vocab_size=256 train.compile_cache= data.validation_share=0.2 "
    "optimizer.warmup_steps=1"
).split()


def small(root):
    """Arguments of a tiny run on the text in root/text."""
    source = [f"--config.data.source=text:{root}/text/*.txt", f"--config.data.cache_dir={root}/cache"]
    return ["--config=configs/bert_base.py:tiny", *[f"--config.{s}" for s in SMALL], *source]


def environment(flags=FAST):
    """Of a process with one CPU device; `flags` are XLA's, "" compiles as users have it."""
    return {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}


def command(verb, *arguments, **settings):
    """A command line; `settings` are options with __ for dots."""
    settings = [f"--config.{key.replace('__', '.')}={value}" for key, value in settings.items()]
    return [sys.executable, str(ROOT / f"{verb}.py"), *map(str, arguments), *settings]


def start(verb, *arguments, flags=FAST, **settings):
    """A process that nothing was imported for; see `command` and `environment`."""
    return subprocess.Popen(
        command(verb, *arguments, **settings), cwd=ROOT, env=environment(flags), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Done:
    """How a process ended."""

    returncode: int
    stdout: str
    stderr: str


def run(verb, *arguments, stdin="", **settings):
    """Runs a verb to its end, with what is typed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preloaded"])
    with tempfile.TemporaryDirectory() as directory:
        streams = [f"{directory}/{name}" for name in ("stdin", "stdout", "stderr")]
        pathlib.Path(streams[0]).write_text(stdin)
        process = context.Process(target=_become, args=(command(verb, *arguments, **settings)[1:], streams))
        process.start()
        process.join(TIMEOUT)
        if process.exitcode is None:
            process.kill()
            process.join()
        return Done(process.exitcode, *(pathlib.Path(stream).read_text() for stream in streams[1:]))


def _become(argv, streams):
    """Is `python argv` from here on."""
    for number, stream in enumerate(streams):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY), number)
    sys.stdin = open(0)  # a forked process has none
    os.chdir(ROOT)
    os.environ["XLA_FLAGS"] = FAST
    sys.argv = list(argv)
    try:
        runpy.run_path(argv[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # a forked process has no end of its own
