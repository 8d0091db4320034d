"""Logits of the PyTorch references at one tiny shape, kept as arrays (tests/parity/make_golden.py made them)."""

import pathlib

import jax
import numpy as np
import pytest

import models
from models import names

SIZE = dict(width=16, heads=2, ffn=24, layers=2, vocab_size=97)
CASES = {
    "bert": dict(family="bert", preset="base", max_positions=32),
    "gpt2": dict(family="gpt2", preset="small", max_positions=32),
    "t5": dict(family="t5", preset="small", decoder_layers=2, head_dim=6),
    "t5_v1_1": dict(family="t5", preset="v1_1_small", decoder_layers=2, head_dim=6),
}


@pytest.mark.parametrize("case", CASES)
def test_logits_of_the_reference(case):
    stored = np.load(pathlib.Path(__file__).parent / "golden" / f"{case}.npz")
    params = names.unflatten({k[7:]: stored[k] for k in stored.files if k.startswith("params/")})
    batch = {k[6:]: stored[k] for k in stored.files if k.startswith("batch/")}
    model = models.Transformer(models.resolve({**CASES[case], **SIZE}))
    got = np.asarray(jax.jit(model.apply)({"params": params}, batch).logits)
    seen = batch["segments"].astype(bool) if case == "bert" else np.ones(got.shape[:2], bool)
    limit = 1e-5 * max(1.0, float(np.abs(stored["logits"]).max()))
    assert np.abs(got - stored["logits"])[seen].max() <= limit
