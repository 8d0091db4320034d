"""What is written against transformers' generate with the same weights: greedily, by beams, drawn."""

import functools
import tempfile

import jax
import numpy as np
import pytest
import torch

from cloze import decoding, interop
from tests.parity import cases_decoders, harness

WRITTEN, LENGTHS, NEVER = 9, np.array([7, 2, 5], np.int32), harness.VOCAB + 1
PAD = 1  # also what two stacks begin with; transformers fills beams with the first end where padding is 0
CASES = {
    case.model_class: case
    for case in reversed(cases_decoders.CASES)
    if case.model_class
    in (
        "GPT2LMHeadModel", "LlamaForCausalLM", "MistralForCausalLM", "GemmaForCausalLM", "T5ForConditionalGeneration",
        "BartForConditionalGeneration", "MarianMTModel",
    )
}  # fmt: skip
# Ours, and theirs.
BEAMS = {
    "T5": (dict(beams=4, length_penalty=0.6, num_samples=2), dict(length_penalty=0.6, num_return_sequences=2)),
    "BART": (
        dict(beams=4, length_penalty=2.0, min_tokens=3, no_repeat_ngram_size=3, early_stopping="full"),
        dict(length_penalty=2.0, min_new_tokens=3, no_repeat_ngram_size=3, early_stopping=True),
    ),
    "Marian": (
        dict(beams=4, early_stopping="exact", forced_eos=6, repetition_penalty=1.3),
        dict(early_stopping="never", forced_eos_token_id=6, repetition_penalty=1.3),
    ),
    "forced": (
        dict(beams=4, length_penalty=-1.0, forced_bos=7, suppressed=(8, 9)),
        dict(length_penalty=-1.0, forced_bos_token_id=7, suppress_tokens=[8, 9]),
    ),
}
DRAWN = {
    "nucleus": (dict(temperature=0.7, top_p=0.8), dict(temperature=0.7, top_p=0.8, top_k=0)),
    "top k": (
        dict(top_k=7, repetition_penalty=1.5, no_repeat_ngram_size=2),
        dict(top_k=7, repetition_penalty=1.5, no_repeat_ngram_size=2),
    ),
    "min p": (
        dict(temperature=1.5, min_p=0.1, min_tokens=4),
        dict(temperature=1.5, min_p=0.1, min_new_tokens=4, top_k=0),
    ),
}  # fmt: skip


EVERY = {  # what each class is compared by; all options are in one of them
    "GPT2LMHeadModel": ("T5", "nucleus"),
    "LlamaForCausalLM": ("BART", "top k"),
    "MistralForCausalLM": ("forced", "min p"),
    "GemmaForCausalLM": ("T5", "top k"),
    "T5ForConditionalGeneration": ("T5", "nucleus"),
    "BartForConditionalGeneration": ("BART", "min p"),
    "MarianMTModel": ("Marian", "forced", "top k"),
}
COMPARED = [(case, name) for case, names in EVERY.items() for name in names]
# Factors of the harness's N(0, 0.08) for tables, other matrices, and factors of norms; None: 1 is added to the last.
# Marian norms a token's embedding with what is added to it. Where all factors are near 1, it writes one token for ever.
LARGE, BY_CLASS = (8, 8, None), {"MarianMTModel": (8, 1.5, 12.5)}


@functools.cache
def pair_of(name):
    """(the reference, our model, its parameters), weights so large that rows are continued differently."""
    module, (table, matrix, norm) = harness.reference(CASES[name]), BY_CLASS.get(name, LARGE)
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(table if parameter.shape[0] == harness.VOCAB else matrix)
            elif key.endswith("weight"):
                parameter.add_(1) if norm is None else parameter.mul_(norm)
    with tempfile.TemporaryDirectory() as path:
        module.save_pretrained(path)
        return module, *interop.load_hf(path)


IDS = np.random.default_rng(0).integers(5, harness.VOCAB, (len(LENGTHS), LENGTHS.max()))
SEEN = (np.arange(LENGTHS.max()) < LENGTHS[:, None]).astype(np.int64)


def ours(pair, ends, keys=None, **options):
    """int [rows, WRITTEN]."""
    _, model, params = pair
    batch, lengths = {"tokens": IDS.astype(np.int32)}, LENGTHS
    if model.config.architecture == "encoder_decoder":
        batch |= {"segments": SEEN.astype(np.int32), "decoder_tokens": np.full((len(LENGTHS), 1), PAD, np.int32)}
        lengths = np.ones_like(LENGTHS)
    return decoding.write(
        model, params, batch, lengths, np.ones(model.config.vocab_size, bool),
        options=decoding.DecodingOptions(max_tokens=WRITTEN, **options), end_ids=ends, pad_id=PAD, keys=keys,
    ).tokens  # fmt: skip


def theirs(pair, ends, **options):
    """The same; transformers pads prompts of decoders at the left."""
    module, model, _ = pair
    two_stacks = model.config.architecture == "encoder_decoder"
    given, mask = (IDS, SEEN) if two_stacks else (_left(IDS), _left(SEEN))
    written = module.generate(
        input_ids=torch.as_tensor(given),
        attention_mask=torch.as_tensor(mask),
        use_cache=False,  # that of T5 breaks where the decoder is deeper than the encoder
        **{
            **dict(do_sample=False, num_beams=1, max_new_tokens=WRITTEN, eos_token_id=list(ends), pad_token_id=PAD),
            **dict(forced_eos_token_id=None, decoder_start_token_id=PAD if two_stacks else None),
            **options,
        },
    ).numpy()[:, 1 if two_stacks else LENGTHS.max() :]
    return np.pad(written, ((0, 0), (0, WRITTEN - written.shape[1])), constant_values=PAD)


@pytest.mark.parametrize("case", CASES)
def test_tokens_are_those_of_generate(case):
    """Prompts of different lengths, without an end and with one."""
    pair = pair_of(case)
    expected = theirs(pair, [NEVER])
    assert len(set(expected.ravel().tolist())) > 3
    np.testing.assert_array_equal(ours(pair, (NEVER,)), expected)
    end = int(expected[0, -1])
    np.testing.assert_array_equal(ours(pair, (end,)), theirs(pair, [end]))


@pytest.mark.parametrize("case, name", [one for one in COMPARED if one[1] in BEAMS])
def test_beams_are_those_of_generate(case, name):
    pair, (mine, others) = pair_of(case), BEAMS[name]
    free = theirs(pair, [NEVER], num_beams=4)
    ends = [int(free[0, 4]), int(free[1, 2])]
    expected = theirs(pair, ends, num_beams=4, **others)
    np.testing.assert_array_equal(ours(pair, tuple(ends), **mine), expected)
    assert len({tuple(row) for row in expected.tolist()}) > 1


@pytest.mark.parametrize("case, name", [one for one in COMPARED if one[1] in DRAWN])
def test_drawn_tokens_are_those_of_generate(case, name, monkeypatch):
    """Both sides read the same random numbers, and draw by them in the same way (Gumbel-max)."""
    pair, (mine, others) = pair_of(case), DRAWN[name]
    keys, drawn = jax.random.split(jax.random.key(3), len(LENGTHS)), []

    def draw(probs, num_samples):
        noise = [jax.random.gumbel(jax.random.fold_in(key, len(drawn)), (probs.shape[1],)) for key in keys]
        drawn.append(num_samples)
        return (probs.log() + torch.as_tensor(np.stack(noise))).argmax(-1, keepdim=True)

    monkeypatch.setattr(torch, "multinomial", draw)
    end = int(theirs(pair, [NEVER])[0, 2])
    expected = theirs(pair, [end], do_sample=True, **others)
    assert drawn and not np.array_equal(expected, theirs(pair, [end]))
    np.testing.assert_array_equal(ours(pair, (end,), keys, **mine), expected)


def _left(rows):
    """Rows with their padding moved to the left."""
    return np.stack([np.roll(row, LENGTHS.max() - length) for row, length in zip(rows, LENGTHS, strict=True)])
