"""What PyTorch's classes compute at one tiny shape, kept as arrays: tests/parity/make_golden.py made them.

The weights are drawn from the names of the tensors, written as a Hugging Face directory and read with `interop`, so
that the tables of names and settings, the layouts and the models are all held to the reference without PyTorch.
"""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from cloze import interop
from tests.interop import golden

FILES = sorted(golden.FOLDER.glob("*.npz"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_outputs_of_the_reference(file, tmp_path):
    stored = np.load(file)
    settings, shapes = json.loads(str(stored["config"])), json.loads(str(stored["shapes"]))
    (tmp_path / "config.json").write_text(json.dumps(settings))
    save_file({name: golden.tensor(name, shape) for name, shape in shapes.items()}, tmp_path / "model.safetensors")
    model, params = interop.load_hf(tmp_path)
    batch = {name.removeprefix("batch/"): stored[name] for name in stored.files if name.startswith("batch/")}
    outputs = jax.jit(model.apply)({"params": params}, batch)
    compared = [name.removeprefix("expected/") for name in stored.files if name.startswith("expected/")]
    for field in compared:
        got = np.asarray(outputs.logits if field == "logits" else outputs.heads["nsp"])
        expected = stored[f"expected/{field}"]
        seen = batch["segments"].astype(bool) if "segments" in batch else np.ones(batch["tokens"].shape, bool)
        if got.shape[:2] == seen.shape and "decoder_tokens" not in batch:
            got, expected = got[seen], expected[seen]
        assert np.abs(got - expected).max() <= 1e-5 * max(1.0, float(np.abs(expected).max())), field
    assert compared


def test_every_model_type_has_one():
    from cloze.interop import formats

    assert {json.loads(str(np.load(file)["config"]))["model_type"] for file in FILES} == set(formats.model_types())
