"""Our adapter of lm-evaluation-harness against its own backend of transformers, on the same weights."""

import pytest

from cloze import interop
from cloze.data import tokenizers
from cloze.interop import tokenizers as hugging_face
from cloze.training import evaluation
from tests.interop.test_harness import CORPUS, TASKS, request, write
from tests.training.untrained import LENGTH, trained

lm_eval = pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: pip install 'cloze[eval]'")
TEXTS = ["the array returns a list", "", "one file reads the name of the row", "a list " * 30]


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_scores_equal_those_of_transformers(family, tmp_path):
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from cloze.interop.harness import Adapter

    if family == "gpt2":
        tokenizer = tokenizers.train(CORPUS, "byte_bpe", 400, False, 0)
        run = trained(tokenizer, ("lm",), family="gpt2", objective="causal_lm", max_positions=LENGTH)
    else:
        tokenizer = tokenizers.train(CORPUS, "unigram", 80, False, 9)
        sizes = dict(layers=1, decoder_layers=1, head_dim=8)
        run = trained(tokenizer, ("lm",), family="t5", objective="span_corruption", **sizes)
    interop.save_hf(tmp_path / "model", run.model.config, run.params)
    hugging_face.save_hf(tokenizer, tmp_path / "model")
    theirs = HFLM(pretrained=str(tmp_path / "model"), device="cpu", dtype="float32", batch_size=2, max_length=LENGTH)
    ours = Adapter(evaluation.writer(run, batch_size=2, report=lambda line: None), lambda line: None)
    pairs = [request(context, more) for context in TEXTS for more in (" the value", " open", " a list of files")]
    for (a, greedy), (b, other) in zip(ours.loglikelihood(pairs), theirs.loglikelihood(pairs), strict=True):
        assert a == pytest.approx(b, rel=1e-4) and greedy == other
    texts = [request(text) for text in TEXTS if text]
    assert ours.loglikelihood_rolling(texts) == pytest.approx(theirs.loglikelihood_rolling(texts), rel=1e-4)
    asked = [request(text, {"until": ["the", "\n"], "max_gen_toks": 5, "do_sample": False}) for text in TEXTS if text]
    if family == "gpt2":  # of two stacks `hf` adds the length of the context to the tokens that are asked for
        assert ours.generate_until(asked) == theirs.generate_until(asked)
    manager = TaskManager(include_path=write(tmp_path / "tasks"))
    found = [
        lm_eval.simple_evaluate(model=model, tasks=list(TASKS), task_manager=manager, bootstrap_iters=0)["results"]
        for model in (ours, theirs)
    ]
    for name in TASKS:
        numbers = [{k: v for k, v in one[name].items() if isinstance(v, float)} for one in found]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-4) and numbers[0]
