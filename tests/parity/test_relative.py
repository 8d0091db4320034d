"""What the shared comparison does not say of DeBERTa and XLNet: buckets, both streams, other names."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

from cloze import interop
from cloze.models.positions.disentangled import log_bucket
from tests.parity import harness
from tests.parity.cases_relative import CASES

BY_ID = {case.id: case for case in CASES}


@pytest.mark.parametrize("buckets, longest", [(256, 512), (128, 512), (320, 640), (8, 32), (6, 11), (7, 33), (3, 12)])
def test_log_buckets(buckets, longest):
    distance = np.arange(-5000, 5001)
    expected = make_log_bucket_position(torch.as_tensor(distance), buckets, longest).long().numpy()
    np.testing.assert_array_equal(log_bucket(distance, buckets, longest), expected)


def test_both_streams_of_xlnet(tmp_path):
    """States of contents and of queries after every layer, in transformers' order: h, g, h, g, ..."""
    case = BY_ID["XLNetLMHeadModel-query stream, context, odd"]
    module = harness.reference(case)
    with torch.no_grad():
        for parameter in module.parameters():  # else attention is nearly uniform
            parameter.mul_(harness.LARGER)
    module.save_pretrained(tmp_path)
    inputs = harness.make_inputs(case)
    batch = harness.make_batch(case, inputs)
    with torch.no_grad():
        states = harness.run_reference(module, inputs).hidden_states
    model, params = interop.load_hf(tmp_path)
    ours = model.apply({"params": params}, batch, collect=True)
    seen = batch["segments"].astype(bool)
    for mine, theirs in zip(ours.hidden_states, states[::2], strict=True):
        np.testing.assert_allclose(np.asarray(mine)[seen], theirs.numpy()[seen], atol=1e-5)
    np.testing.assert_allclose(ours.query_hidden, states[-1].numpy(), atol=1e-5)


@pytest.mark.parametrize("version", ["", "V2"])
def test_heads_under_microsofts_names_are_read(version, tmp_path):
    """Classes with legacy=False name the head lm_predictions; what is written has the names of the default."""
    case = BY_ID[f"Deberta{version}ForMaskedLM-tiny{', v3' if version else ''}"]
    module = harness.reference(dataclasses.replace(case, config=case.config | {"legacy": False}))
    module.save_pretrained(tmp_path / "theirs")
    inputs = harness.make_inputs(case)
    with torch.no_grad():
        expected = harness.run_reference(module, inputs).logits.numpy()
    loaded = interop.read_hf(tmp_path / "theirs")
    assert not loaded.report.unused and not loaded.report.initialised
    got = loaded.model.apply({"params": loaded.params}, harness.make_batch(case, inputs)).logits
    np.testing.assert_allclose(got, expected, atol=1e-5)
    interop.save_hf(tmp_path / "ours", loaded.model.config, loaded.params)
    again, info = type(module).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    with torch.no_grad():
        np.testing.assert_allclose(harness.run_reference(again.eval(), inputs).logits.numpy(), expected, atol=1e-5)


def test_the_table_of_the_enhanced_decoder_is_left_unread(tmp_path):
    """Microsoft's files hold it; transformers has no use for it, and neither have we without its decoder."""
    case = BY_ID["DebertaForMaskedLM-tiny"]
    harness.reference(case).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = "deberta.embeddings.position_embeddings.weight"
    tensors[name] = np.ones((32, 32), np.float32)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = interop.read_hf(tmp_path)
    assert loaded.model.config.enhanced_decoder == 0
    assert loaded.report.unused == (name,)
