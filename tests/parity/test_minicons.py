"""How probable texts are, against the library minicons on the same weights."""

import json

import numpy as np
import pytest
import transformers

from cloze import interop
from cloze.data import tokenizers
from cloze.interop import tokenizers as hugging_face
from cloze.training import evaluation
from tests.training.tiny_run import WORDS
from tests.training.untrained import LENGTH, trained

library = pytest.importorskip("minicons.scorer", reason="pip install 'cloze[parity]'")
pytestmark = pytest.mark.filterwarnings("ignore:tokenizer is changed by adding")

CORPUS = [" ".join(WORDS) + " , . ; ' ( )"] * 3
PAIRS = [
    ("The array returns a listfile.", "The array return a listfile."),  # listfile: several pieces
    ("One reads this row; it's a token.", "One reads these row; it's a token."),
    ("the files (of masks)", "the file (of mask)"),
    ("seed", "seeds"),
]
TEXTS = [text for pair in PAIRS for text in pair]
RUNS = {
    "bert": ("wordpiece", True, 0, dict(heads=("mlm",))),
    "gpt2": ("byte_bpe", False, 0, dict(heads=("lm",), objective="causal_lm")),
    "t5": ("unigram", False, 9, dict(heads=("lm",), objective="span_corruption", decoder_layers=1, head_dim=8)),
}


def total(log_probs):
    """The sum over tokens, where minicons takes their mean by itself."""
    return log_probs.sum(0).item()


def exported(family, directory):
    """A run with random parameters, which is written into a directory as transformers reads it."""
    kind, lowercase, sentinels, settings = RUNS[family]
    tokenizer = tokenizers.train(CORPUS, kind, 400 if kind != "unigram" else 80, lowercase, sentinels)
    settings = settings | ({} if family == "t5" else dict(max_positions=2 * LENGTH))
    run = trained(tokenizer, family=family, **settings)
    run.config.data.sequence_length = 2 * LENGTH
    interop.save_hf(directory, run.model.config, run.params, report=lambda line: None)
    hugging_face.save_hf(tokenizer, directory)
    return run


def by_minicons(family, scoring, directory):
    """The score of each of TEXTS."""
    if family == "bert":  # minicons encodes with a method that transformers 5 has no more, and takes what is encoded
        encoded = transformers.AutoTokenizer.from_pretrained(directory)(TEXTS, padding=True)
        metric = {"pll": "within_word_l2r", "pll_original": "original"}[scoring]
        return library.MaskedLMScorer(str(directory)).sequence_score(encoded, reduction=total, PLL_metric=metric)
    if family == "gpt2":
        return library.IncrementalLMScorer(str(directory)).sequence_score(TEXTS, reduction=total, bos_token=True)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(directory).eval()  # a path gets a larger vocabulary
    scorer = library.Seq2SeqScorer(model, tokenizer=transformers.AutoTokenizer.from_pretrained(directory))
    return scorer.conditional_score([scorer.tokenizer.eos_token] * len(TEXTS), TEXTS, reduction=total)


@pytest.mark.parametrize("family, scoring", [
    ("bert", "pll"), ("bert", "pll_original"), ("gpt2", "causal"), ("t5", "causal")
])  # fmt: skip
def test_minimal_pairs_have_the_scores_of_minicons(family, scoring, tmp_path):
    run = exported(family, tmp_path)
    lines = [
        {"sentence_good": good, "sentence_bad": bad, "UID": "u", "field": "syntax", "linguistics_term": "t"}
        for good, bad in PAIRS
    ]
    (tmp_path / "u.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = evaluation.evaluate(
        run, "blimp", split="validation", files=str(tmp_path), scoring=scoring, resamples=0, report=lambda line: None
    )
    expected = np.reshape(by_minicons(family, scoring, tmp_path), (-1, 2))
    np.testing.assert_allclose([one.log_probs for one in found.predictions], expected, rtol=1e-4)
    accuracy = np.mean(expected[:, 0] > expected[:, 1])
    assert found.scores["accuracy"] == pytest.approx(accuracy) and len(set(expected.round(3).flat)) == len(TEXTS)
