"""Weights of attention against transformers' `output_attentions`."""

import numpy as np
import pytest
import torch
import transformers

from cloze import interop
from cloze.analysis.attention import weights_of
from cloze.data import tokenizers
from tests.training.tiny_run import WORDS
from tests.training.untrained import trained


@pytest.mark.parametrize("family, head", [("bert", "mlm"), ("gpt2", "lm")])
def test_weights_are_those_of_transformers(family, head, tmp_path):
    tokenizer = tokenizers.train([" ".join(WORDS)] * 3, "wordpiece" if family == "bert" else "byte_bpe", 400, True, 0)
    run = trained(tokenizer, (head,), family=family, layers=3)
    interop.save_hf(tmp_path, run.model.config, run.params)
    model = transformers.AutoModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    ids = np.random.default_rng(0).integers(6, tokenizer.vocab_size, (2, 11)).astype(np.int32)
    with torch.no_grad():
        theirs = model(input_ids=torch.tensor(ids, dtype=torch.long), output_attentions=True).attentions
    ours = weights_of(run.model.config, run.params, {"tokens": ids})
    np.testing.assert_allclose(ours, np.stack([one.numpy() for one in theirs]), atol=1e-5)
