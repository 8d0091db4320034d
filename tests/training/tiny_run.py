"""A complete tiny program on text that the test writes, and the shortest way to run some of its steps."""

import contextlib
import io

import jax
import numpy as np

from cloze.configs import base
from cloze.training import resolve
from cloze.training.run import build as build_run
from cloze.training.validation import Validator

WORDS = (
    "the a one this of in to and or is was runs sees reads writes returns value array list file name number small "
    "large open closed first last every some no token model layer row step seed mask loss"
).split()


def write_text(path, documents=60, seed=0):
    """A text file per document, of sentences of known words."""
    rng = np.random.default_rng(seed)
    path.mkdir(exist_ok=True)
    for i in range(documents):
        sentences = [" ".join(rng.choice(WORDS, rng.integers(4, 12))).capitalize() + "." for _ in range(8)]
        (path / f"{i:03d}.txt").write_text(" ".join(sentences))
    return path


def config(family, root, **changes):
    """A configuration of a 2-layer model on the text in `root`/text; `changes` are dotted keys with __ for dots."""
    c = base.get_base()
    c.data.source = f"text:{root}/text/*.txt"
    c.data.cache_dir = str(root / "cache")
    c.data.validation_share = 0.2
    c.data.sequence_length = 32
    c.train.compile_cache = ""
    c.train.batch_size = 16
    c.train.steps = 6
    c.train.log_every = 1
    c.train.eval_every = 100
    c.train.eval_batches = 2
    c.checkpoint.every = 100
    c.optimizer.warmup_steps = 2
    c.optimizer.learning_rate = 1e-2
    c.model.update(
        family=family, layers=2, width=32, heads=4, ffn=64, vocab_size=256, vocab_multiple=8, dropout=0.0,
        attention_dropout=0.0,
    )  # fmt: skip
    c.tokenizer.vocab_size = 256
    if family == "bert":
        c.objective.name, c.objective.pairs = "masked_lm", "next_sentence"
    if family == "gpt2":
        c.model.preset = "small"
        c.objective.name, c.tokenizer.kind, c.tokenizer.vocab_size = "causal_lm", "byte_bpe", 256 + 1
        c.model.vocab_size = 264
    if family == "t5":
        c.model.preset, c.model.decoder_layers, c.model.head_dim = "small", 2, 8
        c.model.activation_dropout = c.model.final_dropout = 0.0
        c.objective.name, c.tokenizer.kind, c.tokenizer.sentinels = "span_corruption", "unigram", 10
        c.tokenizer.vocab_size = 70
    for key, value in changes.items():
        section = c
        *path, last = key.split("__")
        for part in path:
            section = section[part]
        section[last] = value
    return c


def build(configuration, devices=1, tokenizer=None):
    """The training.program.Program of a run's first stage; `tokenizer` is its own saved one, None: the run is new."""
    with contextlib.redirect_stdout(io.StringIO()):
        resolved = resolve.resolve(configuration)
        return build_run(resolved, tokenizer, devices=jax.devices()[:devices], report=lambda line: None).program()


def run(program, steps, state=None, start=0):
    """(state, [metrics of each step as floats])."""
    state = program.new_state() if state is None else state
    with program.run.context():
        step_function = program.trace_train_step().lower().compile()
        history = []
        for step in range(start, start + steps):
            state, metrics = step_function(state, program.run.rows(program.run.data["train"], step), program.run.keys)
            history.append({k: float(v) for k, v in jax.device_get(metrics).items() if k != "gradient_norms"})
    return state, history


def validate(program, state):
    """{metric: value} of a state."""
    return Validator(program.run)(program, state)


def parameters(program, state):
    """{name: numpy array} of all parameters."""
    from cloze.models import names

    return {n: np.asarray(x) for n, x in names.flatten(program.full_parameters(state)).items()}
