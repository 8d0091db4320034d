"""In place of train.py where only its process matters: as quick, as slow or as broken as a test wants it.

It keeps what train.py keeps in --workdir (its lock, run.json, metrics, steps that are saved), makes
--config.train.steps steps of some milliseconds, and ends with 75 when it is told to stop; --config.fails names an exit
code to end with. As every verb, it stops when what has started it is killed.
"""

import fcntl
import json
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
from cloze.parallel import supervisor

supervisor.end_with_starter()
options = dict(argument.lstrip("-").removeprefix("config.").split("=", 1) for argument in sys.argv[1:])
path, steps = pathlib.Path(options["workdir"]), int(options.get("train.steps", 3))
asked = []
signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
path.mkdir(parents=True, exist_ok=True)
lock = open(path / "lock", "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit("in use")
if "output" in options:  # as eval.py
    (path / "judged").write_text(options["task"])
    pathlib.Path(options["output"]).write_text(json.dumps({options["task"]: {"score": 0.5, "score_stderr": 0.1}}))
    sys.exit(int(options.get("code", 0)))
(path / "run.json").write_text(json.dumps({"steps": steps, "parameters": 10}))
with open(path / "starts", "a") as file:
    file.write("x")
if "fails" in options and not (path / "mended").exists():
    print("train.py: a first line\ntrain.py: it does not work", file=sys.stderr)
    sys.exit(int(options["fails"]))
done = max((int(p.name) for p in path.glob("checkpoints/*")), default=0)
for step in range(done + 1, steps + 1):
    time.sleep(float(options.get("seconds", 0.01)))
    loss = 1 / step + float(options.get("seed", 0))
    with open(path / "metrics.jsonl", "a") as file:
        for split in ("train", "validation"):
            file.write(json.dumps({"step": step, "split": split, "loss": loss, "flops": 100.0}) + "\n")
    (path / "checkpoints" / str(step)).mkdir(parents=True)
    if asked and step < steps:
        print("train.py: stopped, saved", file=sys.stderr)
        sys.exit(75)
