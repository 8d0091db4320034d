"""Files that somebody made to do harm: they run no code, are not waited for, and lead out of their directory nowhere.

Each case is a small model of Hugging Face, a run or an adapter with one thing in it changed, drawn by its number. It is
read or refused, by one message, within 20 seconds, and what is refused leaves nothing behind.
"""

import contextlib
import json
import os
import pathlib
import pickle
import random
import shutil
import signal
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cloze.configs import base
from cloze.data import tokenizers
from cloze.errors import UserError
from cloze.interop import files, peft
from cloze.models import names
from cloze.training import hugging_face, initial
from tests import verbs
from tests.faults import CHAOS
from tests.interop import fakes
from tests.interop.test_peft import adapted
from tests.training import tiny_run

CASES = 150 if CHAOS else 25
SECONDS = 20
MODELS = {
    "bert": "BertForSequenceClassification",
    "gpt2": "GPT2LMHeadModel",
    "t5": "T5ForConditionalGeneration",
    "llama": "LlamaForCausalLM",
    "deberta-v2": "DebertaV2ForMaskedLM",
}
DEEP = "[" * 100_000


def nested(depth):
    """A list in a list in a list, which is read, but too deep for most that walk over it."""
    made = []
    for _ in range(depth):
        made = [made]
    return made


VALUES = [
    None, True, -1, 0, 1, 3, 10**9, 10**30, 5e7, 0.5, float("nan"), float("inf"), "", "x", "\ud800", "../../outside",
    [], [1], ["x"], [[]], {}, {"a": 1}, {"1": {"content": 3}}, {"rope_type": "llama3"}, nested(500),
]  # fmt: skip


class Watch:
    """What Python is asked to open and to start while it is active; an audit hook cannot be taken back."""

    def __init__(self):
        self.active, self.opened, self.started = False, [], []
        sys.addaudithook(self._heard)

    def _heard(self, event, arguments):
        if not self.active:
            return
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            self.opened.append(os.fsdecode(arguments[0]))
        if event in (
            "os.system",
            "os.exec",
            "os.posix_spawn",
            "subprocess.Popen",
            "socket.connect",
            "pickle.find_class",
        ):
            self.started.append((event, arguments))


@pytest.fixture(scope="module")
def watch():
    return Watch()


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """{model type: directory}, {"run": directory} and {"adapter": directory}, all whole."""
    root = tmp_path_factory.mktemp("whole")
    trained = tokenizers.train([" ".join(tiny_run.WORDS)] * 3, "wordpiece", 97, lowercase=True, sentinels=0)
    for model_type, class_name in MODELS.items():
        fakes.write(root / model_type, model_type, class_name)
        (root / model_type / "tokenizer.json").write_bytes(trained.model.content)
        for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
            (root / model_type / name).write_text("{}")
    (root / "run").mkdir()
    (root / "run" / "config.json").write_text(json.dumps(base.to_dict(tiny_run.config("bert", root))))
    trained.save(root / "run" / "tokenizer")
    lora, config, flat = adapted("bert")
    peft.save_lora(root / "adapter", config, names.unflatten(flat), lora, report=lambda line: None)
    return root, config


@contextlib.contextmanager
def within(seconds):
    """Ends what takes longer, a wait for a pipe as well as a loop."""

    def late(*_):
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def change_value(path, draw):
    """Another value somewhere in a JSON file, or in the header of a file of tensors."""
    content = path.read_bytes()
    start, stop = (8, 8 + int.from_bytes(content[:8], "little")) if path.suffix == ".safetensors" else (0, len(content))
    described = json.loads(content[start:stop])
    place, value = described, draw.choice(VALUES)
    keys = [*described, draw.choice(("id2label", "rope_scaling", "added_tokens_decoder", "unk_token", "layer_types"))]
    key = draw.choice(keys)
    while draw.random() < 0.7 and isinstance(place.get(key), dict) and place[key]:
        place = place[key]
        key = draw.choice([*place])
    place[key] = value
    text = json.dumps(described).encode()
    length = len(text).to_bytes(8, "little") if start else b""
    path.write_bytes(length + text + content[stop:])
    return f"{path.name}: {key}={str(value)[:60]}"


def replace_file(path, draw):
    """Something else in the place of a file."""
    content, kind = (
        path.read_bytes(),
        draw.choice(("pipe", "folder", "device", "loop", "none", "empty", "deep", "noise")),
    )
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "deep":
        path.write_text(DEEP)
    elif kind != "none":
        path.write_bytes(draw.randbytes(len(content) // 2) if kind == "noise" else b"")
    return f"{path.name}: {kind}"


def lead_outside(path, draw):
    """Names of files that are not of this directory."""
    name = draw.choice(("../outside.safetensors", str(path.parent.parent / "outside.safetensors"), "a/../../outside"))
    shutil.copy(path.parent / files.SINGLE, path.parent.parent / "outside.safetensors")
    held = files.read_header(path.parent / files.SINGLE)
    (path.parent / files.SINGLE).unlink()
    (path.parent / files.INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(held, name)}))
    return f"shards at {name}"


def not_finite(path, draw):
    """Weights that are no numbers."""
    held = load_file(path.parent / files.SINGLE)
    name = draw.choice(sorted(held))
    held[name] = np.full_like(held[name], draw.choice((np.nan, np.inf)))
    save_file(held, path.parent / files.SINGLE)
    return f"{name} is not finite"


def read(kind, directory, workdir, config):
    """Reads a directory as a verb would."""
    if kind == "adapter":
        peft.load_lora(directory, config)
    elif kind == "run":
        base.load(directory / "config.json")
        tokenizers.load(directory / "tokenizer")
        initial.is_hugging_face(directory)
    else:
        hugging_face.from_hf(directory, workdir, report=lambda line: None)


@pytest.mark.parametrize("number", range(CASES))
def test_one_thing_changed(number, sources, watch, tmp_path):
    root, config = sources
    draw = random.Random(number)
    kind = draw.choice((*MODELS, *MODELS, "run", "adapter"))
    directory, workdir = tmp_path / "source", tmp_path / "workdir"
    shutil.copytree(root / kind, directory)
    path = draw.choice(sorted(path for path in directory.rglob("*") if path.is_file()))
    changes = [replace_file] + ([change_value] * 4 if path.suffix in (".json", ".safetensors") else [])
    if kind in MODELS:
        changes += [lead_outside, not_finite]
    changed = draw.choice(changes)(path, draw)
    watch.opened, watch.started, watch.active = [], [], True
    try:
        with within(SECONDS):
            read(kind, directory, workdir, config)
    except UserError as error:
        assert str(error) and "Traceback" not in str(error), changed
        assert not workdir.exists(), changed
    finally:
        watch.active = False
    assert not watch.started, changed
    here = [pathlib.Path(os.path.normpath(opened)) for opened in watch.opened if opened.startswith(str(tmp_path))]
    assert all(path.is_relative_to(directory) or "workdir" in path.parts[len(tmp_path.parts)] for path in here), changed


class Harm:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def test_code_beside_a_model_is_not_run(sources, watch, tmp_path):
    root, config = sources
    directory, marker = tmp_path / "source", tmp_path / "harm"
    for kind, single, bare in (("bert", files.SINGLE, files.PICKLE), ("adapter", peft.TENSORS, peft.PICKLE)):
        shutil.copytree(root / kind, directory / kind)
        (directory / kind / "modeling.py").write_text(f"import os; os.mkdir({str(marker)!r})")
        described = next((directory / kind).glob("*config.json"))
        known = {"auto_map": {"AutoModel": "modeling.Model"}} if kind == "bert" else {}
        described.write_text(json.dumps(json.loads(described.read_text()) | known))
        read(kind, directory / kind, tmp_path / "workdir", config)
        (directory / kind / single).unlink()
        (directory / kind / bare).write_bytes(pickle.dumps(Harm(marker)))
        with pytest.raises(UserError, match="a pickle, which can run any code"):
            read(kind, directory / kind, tmp_path / "other", config)
    assert not marker.exists()


def test_a_command_ends_with_one_message(sources, tmp_path):
    """Exit codes: 3 for damaged data, 2 for settings that cannot be."""
    root, _ = sources
    directory = tmp_path / "source"
    shutil.copytree(root / "gpt2", directory)
    asked = ["convert", "from_hf", f"--source={directory}", f"--workdir={tmp_path / 'run'}"]
    described = json.loads((directory / "config.json").read_text())
    for code, words in ((2, "n_layer=1000000000 must be"), (3, "config.json")):
        (directory / "config.json").write_text(json.dumps(described | {"n_layer": 10**9}) if code == 2 else DEEP)
        done = verbs.run(*asked)
        assert done.returncode == code and words in done.stderr, done.stderr
        assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
        assert not (tmp_path / "run").exists()
