"""A tiny labelled task and the shortest way to finetune a small model on it."""

import json

import jax
import numpy as np

from cloze import options
from cloze.models import names
from cloze.training.methods import METHODS
from cloze.training.step import TrainState
from tests.training import tiny_run

COUNTS = {"train": 40, "validation": 12}


def write(path, kind="class"):
    """Writes jsonl files of a kind: whether "open" or "closed" is among words that say nothing, or which of two is."""
    path.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        lines = []
        for i in range(count):
            words = list(rng.choice([w for w in tiny_run.WORDS if w not in ("open", "closed")], rng.integers(3, 9)))
            words.insert(int(rng.integers(len(words))), ("open", "closed")[i % 2])
            lines.append(json.dumps(_example(kind, words, i % 2)))
        (path / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return path


def _example(kind, words, which):
    text, key = " ".join(words), ("open", "closed")[which]
    if kind == "embedding":
        negative = {"negative": f"closed {text}"} if which else {}
        return {"anchor": text, "positive": " ".join(sorted(words))} | negative
    if kind == "tag":
        return {"words": words, "tags": ["KEY" if word == key else "O" for word in words]}
    if kind == "span":
        return {"question": "a file", "context": text, "answers": [{"text": key, "start": text.index(key)}]}
    if kind == "choice":
        return {"context": text, "choices": ["open", "closed"], "label": which}
    return {"text": text, "label": ("good", "bad")[which]}


def config(family, root, method, **changes):
    """A configuration of finetuning on the task in `root`/task; `changes` are dotted keys with __ for dots."""
    settings = dict(
        objective__name="supervised", task__name="jsonl:class", task__batching="pad",
        task__files=str(root / "task"), data__sequence_length=16, train__batch_size=8,
        model__head_dropout=0.0, model__pooler_dropout=0.0, optimizer__warmup_steps=0, optimizer__schedule="constant",
        optimizer__learning_rate=1e-2, optimizer__epsilon=1e-8,
    )  # fmt: skip
    settings = {"finetune__method": method} | settings
    small = dict(lora_rank=2, adapter_size=4, prefix_length=3, prefix_hidden=6, prompt_length=4, prompt_hidden=8)
    has = options.declared(METHODS[method])
    settings |= {f"finetune__{key}": value for key, value in small.items() if key in has}
    return tiny_run.config(family, root, **settings | changes)


def by_layer(flat):
    """{name: array} with one name for each layer of what is stacked."""
    found = {}
    for name, array in flat.items():
        if names.is_stacked(name):
            found |= dict(zip(names.layer_names(name, len(array)), array, strict=True))
        else:
            found[name] = array
    return found


def parameters(program, state):
    """{name: numpy array} of all parameters, one name for each layer."""
    return by_layer(tiny_run.parameters(program, state))


def any_state(program, seed=0):
    """A state of random parameters, none of which is zero, so that everything that trains moves in one step."""
    rng = np.random.default_rng(seed)
    flat = {n: (0.2 * rng.normal(size=shape)).astype(np.float32) for n, shape in program.run.shapes.items()}
    trainable, frozen = program.split(names.unflatten(flat))
    # Adam's begins at zero.
    opt_state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), program.abstract_state.opt_state)
    state = TrainState(np.zeros((), np.int32), trainable, frozen, opt_state)
    return jax.tree.map(lambda leaf, like: jax.device_put(leaf, like.sharding), state, program.abstract_state)


def training(split):
    """The names of a training.trainable.Split that train, one for each layer."""
    found = set()
    for name, mask in split.mask.items():
        own = names.layer_names(name, len(mask)) if names.is_stacked(name) else [name]
        found |= {n for n, trains in zip(own, mask, strict=True) if trains}
    return found
