"""Tasks of lm-evaluation-harness, from files and without a network; and its requests against loops over tokens."""

import types

import numpy as np
import pytest

from cloze.data import tokenizers
from cloze.errors import ConfigError
from cloze.training import evaluation, harness
from tests.tasks import prepared
from tests.training.tiny_run import WORDS
from tests.training.untrained import LENGTH, trained

CORPUS = [" ".join(WORDS)] * 3
CHOICE = """
task: tiny_choice
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/choice.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: label
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
WRITTEN = """
task: tiny_written
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/choice.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[0]}}"
generation_kwargs: {until: ["the"], max_gen_toks: 4}
metric_list: [{metric: exact_match}]
"""
ROLLING = """
task: tiny_rolling
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/texts.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
"""
TASKS = {"tiny_choice": CHOICE, "tiny_written": WRITTEN, "tiny_rolling": ROLLING}


@pytest.fixture(scope="module")
def lm_eval():
    return pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: pip install 'cloze[eval]'")


@pytest.fixture(scope="module")
def run():
    tokenizer = tokenizers.train(CORPUS, "byte_bpe", 400, False, 0)
    return trained(tokenizer, ("lm",), family="gpt2", objective="causal_lm", max_positions=LENGTH)


def write(folder):
    """The folder with three tasks and their data."""
    rng = np.random.default_rng(0)

    def words(count):
        return " ".join(rng.choice(WORDS, count))

    questions = [
        {"question": words(3 + 9 * (n % 3)), "choices": [words(1), words(2), words(1)], "label": n % 3}
        for n in range(7)
    ]
    files = {f"{name}.yaml": text.replace("FOLDER", str(folder)) for name, text in TASKS.items()}
    texts = [{"text": words(count)} for count in (5, 70, 2)]
    return prepared.write(folder, files | {"choice.jsonl": questions, "texts.jsonl": texts})


def request(*arguments):
    return types.SimpleNamespace(args=arguments)


def test_without_the_harness_and_without_a_writer_it_is_refused(monkeypatch, run):
    import sys

    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(ConfigError, match=r"--lm_eval needs lm-evaluation-harness .*pip install 'cloze\[eval\]'"):
        harness.evaluate(run, ["arc_easy"])


def test_requests_are_answered_as_token_by_token(lm_eval, run):
    from cloze.interop.harness import Adapter

    adapter = Adapter(evaluation.writer(run, batch_size=2, report=lambda line: None), lambda line: None)
    apply, eos = run.model.apply, run.tokenizer.tables.eos

    def log_probs(ids):
        logits = np.asarray(apply({"params": run.params}, {"tokens": np.array([ids], np.int32)}).logits, np.float64)[0]
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))

    pairs = [("the array", " returns a list"), ("", "the list"), ("the file ", "one")]
    for (context, continuation), (value, greedy) in zip(
        pairs, adapter.loglikelihood([request(*pair) for pair in pairs]), strict=True
    ):
        whole = run.tokenizer.encode(context + continuation).tolist()
        before = run.tokenizer.encode(context.rstrip()).tolist() if context else []
        ids = whole if context else [eos, *whole]
        first = len(before) or 1
        found = log_probs(ids)[first - 1 : -1]
        targets = np.array(ids[first:])
        assert value == pytest.approx(found[np.arange(len(targets)), targets].sum(), rel=1e-4)
        assert greedy == bool(np.all(found.argmax(axis=-1) == targets))
    best = int(log_probs([eos])[-1].argmax())
    assert adapter._score([adapter._row([eos], [best]), adapter._row([eos], [best - 1])], "").greedy.tolist() == [
        True,
        False,
    ]


def test_local_tasks_are_scored(lm_eval, run, tmp_path):
    said = []
    found = harness.evaluate(run, list(TASKS), include=write(tmp_path), batch_size=4, report=said.append)
    assert set(found) == set(TASKS)
    assert 0 <= found["tiny_choice"]["acc"] <= 1 and {"acc_stderr", "acc_norm"} <= set(found["tiny_choice"])
    assert found["tiny_rolling"]["word_perplexity"] > 1 and found["tiny_written"]["exact_match"] in (0.0, 1.0)
    with pytest.raises(ConfigError, match="unknown --lm_eval=tiny_choise; did you mean 'tiny_choice'"):
        harness.evaluate(run, ["tiny_choise"], include=str(tmp_path))
