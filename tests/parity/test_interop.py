"""What the shared comparison does not say: T5 1.1, `interop.logits`, and padding at the left as generate() has it."""

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file

from cloze import interop
from tests.parity import harness
from tests.parity.cases_decoders import CASES as DECODERS
from tests.parity.cases_encoders import CASES as ENCODERS

BY_ID = {case.id: case for case in [*ENCODERS, *DECODERS]}


def save(module, directory):
    module.save_pretrained(directory)
    return interop.load_hf(directory)


def test_t5_1_1_whose_head_is_its_own(tmp_path):
    """This release of transformers ties the head of every T5; 1.1 is not tied, so the reference is untied by hand."""

    def untie(module):
        module.lm_head.weight = torch.nn.Parameter(torch.empty(harness.VOCAB, module.config.d_model))
        for keys in ("_tied_weights_keys", "all_tied_weights_keys"):
            setattr(module, keys, {k: v for k, v in getattr(module, keys).items() if k != "lm_head.weight"})

    tiny = BY_ID["T5ForConditionalGeneration-tiny"].config
    case = harness.Case(
        "T5ForConditionalGeneration", "1.1", tiny | {"tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"},
        decoder_length=9, prepare=untie,
    )  # fmt: skip
    module, inputs = harness.reference(case), harness.make_inputs(case)
    model, params = save(module, tmp_path / "theirs")
    assert not model.config.tie_embeddings and not model.config.scale_tied_logits
    got = interop.logits(
        model, params, inputs["input_ids"], inputs["attention_mask"], decoder_token_ids=inputs["decoder_input_ids"]
    )
    with torch.no_grad():
        harness.check(case, "logits", got, harness.run_reference(module, inputs).logits)
    interop.save_hf(tmp_path / "ours", model.config, params)
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("theirs", "ours"))
    assert "lm_head.weight" in after and set(before) == set(after)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_logits_take_what_users_of_transformers_hold(tmp_path):
    case = BY_ID["BertForPreTraining-odd"]
    module, inputs = harness.reference(case), harness.make_inputs(case)
    model, params = save(module, tmp_path)
    got = interop.logits(model, params, inputs["input_ids"], inputs["attention_mask"], inputs["token_type_ids"])
    with torch.no_grad():
        expected = harness.run_reference(module, inputs).prediction_logits
    harness.check(case, "interop.logits", got, expected, inputs["attention_mask"].astype(bool))


@pytest.mark.parametrize("kind", ["Bart", "T5"])
def test_classes_of_rows_of_two_stacks(kind, tmp_path):
    """transformers makes the decoder's tokens by a shift and reads the state where the row has its last </s>."""
    case = BY_ID[f"{kind}ForSequenceClassification-odd"]
    module, inputs = harness.reference(case), harness.make_inputs(case)
    model, params = save(module, tmp_path)
    shifted = harness.make_batch(case, inputs)["decoder_tokens"]
    got = interop.logits(model, params, inputs["input_ids"], inputs["attention_mask"], decoder_token_ids=shifted)
    with torch.no_grad():
        harness.check(case, "interop.logits", got, harness.run_reference(module, inputs).logits)


def test_padding_at_the_left_does_not_shift_decoders(tmp_path):
    case = BY_ID["GPT2LMHeadModel-tiny"]
    module = harness.reference(case)
    model, params = save(module, tmp_path)
    ids = np.random.default_rng(0).integers(5, harness.VOCAB, (3, 9))
    shifted = np.concatenate([np.full((3, 4), 1), ids], axis=1)
    mask = np.concatenate([np.zeros((3, 4)), np.ones_like(ids)], axis=1)
    with torch.no_grad():
        expected = module(torch.as_tensor(ids)).logits
    harness.check(case, "padded at the left", interop.logits(model, params, shifted, mask)[:, 4:], expected)


def test_what_we_write_answers_alike_in_transformers(tmp_path):
    case = BY_ID["BertForSequenceClassification-odd"]
    module, inputs = harness.reference(case), harness.make_inputs(case)
    model, params = save(module, tmp_path / "theirs")
    interop.save_hf(tmp_path / "ours", model.config, params)
    auto = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours").eval()
    with torch.no_grad():
        expected = harness.run_reference(module, inputs).logits
        harness.check(case, "written and read", harness.run_reference(auto, inputs).logits.numpy(), expected)


def test_ranks_are_unilms_masks(tmp_path):
    """Left to right, right to left and sequence to sequence as ranks, against BERT with those masks."""
    case = BY_ID["BertForMaskedLM-odd"]
    module = harness.reference(case)
    model, params = save(module, tmp_path)
    length, source = case.length, 5
    places = np.arange(length)
    ranks = np.stack([places, places[::-1], np.maximum(places - source + 1, 0)]).astype(np.int32)
    masks = np.zeros((3, 1, length, length), np.float32)
    masks[0, 0] = np.triu(np.full((length, length), -1e9), 1)
    masks[1, 0] = np.tril(np.full((length, length), -1e9), -1)
    masks[2, 0] = masks[0, 0]
    masks[2, 0, :, :source] = 0  # all see the source, which sees no target
    ids = np.random.default_rng(0).integers(5, harness.VOCAB, (3, length)).astype(np.int32)
    with torch.no_grad():
        expected = module(torch.as_tensor(ids).long(), attention_mask=torch.as_tensor(masks)).logits
    got = model.apply({"params": params}, {"tokens": ids, "ranks": ranks}).logits
    harness.check(case, "UniLM's masks", got, expected, limit=1e-5)
    both_ways = model.apply({"params": params}, {"tokens": ids}).logits
    assert np.abs(np.asarray(both_ways) - expected.numpy()).max() > 1e-4
