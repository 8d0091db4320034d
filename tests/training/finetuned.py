"""Runs' directories of small models, finetuned as far as tests of files need: what trains has other values."""

import json

import jax
import jax.numpy as jnp

from cloze.configs import base
from cloze.training.checkpoint import Checkpoints
from tests.training import tiny_run, tiny_task


def quiet(line):
    pass


def save(program, state, workdir, step=3):
    """A run's directory as training leaves it, with one checkpoint."""
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps(base.to_dict(program.run.config)))
    program.run.tokenizer.save(workdir / "tokenizer")
    checkpoints = Checkpoints(workdir / "checkpoints")
    meta = {**program.run.facts(), "data": None, "stage": program.stage}
    checkpoints.save(step, program.saved_parameters(state), state.opt_state, meta)
    checkpoints.close()
    return workdir


def pretrained(root, workdir, seed=0, **changes):
    """The directory of a BERT with its initial parameters."""
    program = tiny_run.build(tiny_run.config("bert", root, objective__pairs="none", seed=seed, **changes))
    return save(program, program.new_state(quiet), workdir)


def build(root, origin, method, **changes):
    """The Program of a method on top of a run."""
    tiny_task.write(root / "task")
    changes = dict(init__checkpoint=str(origin), tokenizer__path=f"{origin}/tokenizer", init__inherit=True) | changes
    return tiny_run.build(tiny_task.config("bert", root, method, **changes))


def moved(program, state):
    """The state with random numbers added to all that trains."""

    def move(tree):
        leaves, structure = jax.tree.flatten(tree)
        keys = jax.random.split(jax.random.key(5), len(leaves))
        new = [leaf + 0.1 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys, strict=True)]
        return jax.tree.unflatten(structure, new)

    with program.run.context():
        shardings = jax.tree.map(lambda leaf: leaf.sharding, state.trainable)
        return state.replace(trainable=jax.jit(move, out_shardings=shardings)(state.trainable), step=jnp.int32(3))


def finetuned(root, origin, workdir, method, **changes):
    """(Program, state, directory) of such a run."""
    program = build(root, origin, method, **changes)
    state = moved(program, program.new_state(quiet))
    return program, state, save(program, state, workdir)
