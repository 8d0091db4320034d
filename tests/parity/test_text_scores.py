"""Pseudo-log-likelihoods against a loop over transformers' BERT with its own tokenizer."""

import numpy as np
import pytest
import torch
import transformers

from cloze import interop
from cloze.data import tokenizers
from cloze.interop import tokenizers as hugging_face
from cloze.training import evaluation
from tests.training.tiny_run import WORDS
from tests.training.untrained import LENGTH, trained

TEXTS = ["The array returns a listfile.", "a tokenlist of seedfiles, the masks", "one"]


def by_loop(model, tokenizer, text, within_words):
    """The sum over tokens; `within_words`: what follows in the same word is hidden as well (Kauf and Ivanova 2023)."""
    encoded = tokenizer(text, return_tensors="pt")
    ids, words, total = encoded["input_ids"], encoded.word_ids(), 0.0
    for place in range(1, ids.shape[1] - 1):
        hidden = ids.clone()
        for other in range(place, ids.shape[1] - 1):
            if other == place or (within_words and words[other] == words[place]):
                hidden[0, other] = tokenizer.mask_token_id
        with torch.no_grad():
            logits = model(input_ids=hidden, attention_mask=torch.ones_like(hidden)).logits[0, place]
        total += torch.log_softmax(logits.double(), dim=-1)[ids[0, place]].item()
    return total


@pytest.mark.parametrize("scoring", ["pll", "pll_original"])
def test_pseudo_log_likelihoods_equal_a_loop_over_transformers(scoring, tmp_path):
    tokenizer = tokenizers.train([" ".join(WORDS) + " , ."] * 3, "wordpiece", 400, True, 0)
    run = trained(tokenizer, ("mlm",), max_positions=LENGTH)
    interop.save_hf(tmp_path, run.model.config, run.params)
    hugging_face.save_hf(tokenizer, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    model = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    expected = [by_loop(model, theirs, text, scoring == "pll") for text in TEXTS]
    found = evaluation.text_scorer(run, scoring, batch_size=4).scores(TEXTS)
    assert max(one.tokens for one in found) > 6  # words of several pieces are among them
    np.testing.assert_allclose([one.log_prob for one in found], expected, rtol=1e-4)
