"""Greedy decoding against transformers' generate with the same weights."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from cloze import decoding, interop
from tests.parity import cases_decoders, harness

WRITTEN, LENGTHS = 9, np.array([7, 2, 5], np.int32)
CASES = {
    case.model_class: case
    for case in reversed(cases_decoders.CASES)
    if case.model_class
    in ("GPT2LMHeadModel", "MistralForCausalLM", "T5ForConditionalGeneration", "BartForConditionalGeneration")
}


@pytest.mark.parametrize("name", CASES)
def test_tokens_are_those_of_generate(name, tmp_path):
    """Prompts of different lengths; transformers pads those of decoders at the left."""
    case = dataclasses.replace(CASES[name], length=LENGTHS.max())
    module = harness.reference(case)
    with torch.no_grad():
        for key, parameter in module.named_parameters():  # else all rows would be continued alike
            if parameter.ndim > 1:
                parameter.mul_(8)
            elif key.endswith("weight"):
                parameter.add_(1)
    module.save_pretrained(tmp_path)
    model, params = interop.load_hf(tmp_path)
    two_stacks = model.config.architecture == "encoder_decoder"
    ids = np.random.default_rng(0).integers(5, harness.VOCAB, (len(LENGTHS), LENGTHS.max()))
    seen = (np.arange(LENGTHS.max()) < LENGTHS[:, None]).astype(np.int64)

    def ours(end_id):
        batch = {"tokens": ids.astype(np.int32)}
        lengths = LENGTHS
        if two_stacks:
            batch |= {"segments": seen.astype(np.int32), "decoder_tokens": np.full((len(LENGTHS), 1), 1, np.int32)}
            lengths = np.ones_like(LENGTHS)
        tokens, _ = decoding.greedy(
            model, params, batch, jnp.asarray(lengths), np.ones(model.config.vocab_size, bool), max_tokens=WRITTEN,
            end_ids=(end_id,), pad_id=0,
        )  # fmt: skip
        return np.asarray(tokens)

    def theirs(end_id):
        given, mask = (ids, seen) if two_stacks else (_left(ids), _left(seen))
        written = module.generate(
            input_ids=torch.as_tensor(given),
            attention_mask=torch.as_tensor(mask),
            do_sample=False,
            num_beams=1,
            max_new_tokens=WRITTEN,
            eos_token_id=end_id,
            pad_token_id=0,
            forced_eos_token_id=None,
            use_cache=False,  # that of T5 breaks where the decoder is deeper than the encoder
            **(dict(decoder_start_token_id=1) if two_stacks else {}),
        ).numpy()[:, 1 if two_stacks else LENGTHS.max() :]
        return np.pad(written, ((0, 0), (0, WRITTEN - written.shape[1])))

    never = harness.VOCAB + 1
    expected = theirs(never)
    assert len(set(expected.ravel().tolist())) > 3
    np.testing.assert_array_equal(ours(never), expected)
    end = int(expected[0, -1])
    np.testing.assert_array_equal(ours(end), theirs(end))


def _left(rows):
    """Rows with their padding moved to the left."""
    return np.stack([np.roll(row, LENGTHS.max() - length) for row, length in zip(rows, LENGTHS, strict=True)])
