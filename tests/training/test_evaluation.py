"""What eval.py measures: predictions of heads and of models that write, against plain loops over the examples."""

import copy
import dataclasses
import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cloze.configs.base import get_base
from cloze.data import tokenizers
from cloze.errors import ConfigError, DataError
from cloze.tasks import baselines, metrics
from cloze.tasks.label_scores import AnswerScores
from cloze.tasks.shots import InContext
from cloze.training import evaluation
from tests.tasks import prepared
from tests.tasks.fakes import Fake
from tests.training.tiny_run import WORDS
from tests.training.untrained import trained

TEXT = [" ".join(WORDS)] * 3
rng = np.random.default_rng(0)
HEADS = {"class": "class", "regression": "class", "choice": "choice", "tag": "tag", "span": "span"}


def words(count):
    return " ".join(rng.choice(WORDS, count))


def example(kind, i):
    """Example i of a kind; lengths and numbers of choices differ."""
    text = words(3 + 4 * (i % 2))
    if kind in ("class", "regression"):
        label = ("left", "middle", "right")[i % 3] if kind == "class" else i / 4
        return {"text": text, "text_b": words(2), "label": label}
    if kind == "choice":
        return {"context": text, "choices": [words(2) for _ in range(2 + i % 2)], "label": i % 2}
    if kind == "tag":
        several = [*text.split(), "listfile"]  # the last is of several pieces
        return {"words": several, "tags": [("B-X", "I-X", "O")[len(word) % 3] for word in several]}
    answer = text.split()[1]
    return {"question": words(2), "context": text, "answers": [{"text": answer, "start": text.index(f" {answer}") + 1}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven examples of each kind, as a user's own files."""
    root = tmp_path_factory.mktemp("tasks")
    for kind in HEADS:
        lines = [example(kind, i) for i in range(9)]
        prepared.write(root / kind, {"train.jsonl": lines, "validation.jsonl": lines[2:]})
    unlabelled = [{"text": words(3), "text_b": words(2), "label": None} for _ in range(2)]
    prepared.write(root / "class", {"test.jsonl": unlabelled})
    prepared.write(root / "lm", {f"{split}.jsonl": [{"text": words(40)}] for split in ("train", "validation")})
    return root


@pytest.fixture(scope="module")
def wordpiece():
    return tokenizers.train(TEXT, "wordpiece", 400, True, 0)


@pytest.fixture(scope="module")
def classifier(wordpiece):
    return trained(wordpiece, ("class",))


@pytest.fixture(scope="module")
def writer():
    return trained(tokenizers.train(TEXT, "byte_bpe", 600, False, 0), ("lm",), family="gpt2", objective="causal_lm")


def evaluate(run, kind, folder, split="validation", **options):
    lines = []
    options = dict(batch_size=4, max_tokens=3) | options
    made = evaluation.evaluate(
        run, f"jsonl:{kind}", split=split, files=str(folder / kind), report=lines.append, **options
    )
    return made, "\n".join(lines)


def alone(run, apply, first, second=()):
    """The outputs for one unpadded row, [CLS] first [SEP] second [SEP]."""
    tables = run.tokenizer.tables
    second = [*second, tables.sep] if len(second) else []
    tokens = np.array([[tables.cls, *first, tables.sep, *second]], np.int32)
    batch = {"tokens": tokens, "token_types": (np.arange(tokens.shape[1])[None] >= len(first) + 2).astype(np.int32)}
    return jax.tree.map(lambda x: np.asarray(x[0]), apply({"params": run.params}, batch))


def by_hand(run, apply, kind, one, names):
    """The prediction for one example."""
    encode = run.tokenizer.encode
    if kind == "choice":
        scores = [
            alone(run, apply, encode(one["context"]), encode(choice)).heads["choice"] for choice in one["choices"]
        ]
        return int(np.argmax(np.ravel(scores)))
    if kind == "tag":
        pieces = [encode(word) for word in one["words"]]
        logits = alone(run, apply, list(itertools.chain(*pieces))).heads["tag"]
        firsts = np.cumsum([1, *map(len, pieces[:-1])])
        return [names[np.argmax(logits[first])] for first in firsts]
    if kind == "span":
        (question, (ids, chars)) = encode(one["question"]), run.tokenizer.encode_with_offsets([one["context"]])[0]
        starts, ends = alone(run, apply, question, ids).heads["span"][len(question) + 2 : -1].T
        score, first, last = max(
            (starts[a] + ends[b], a, b) for a in range(len(ids)) for b in range(a, len(ids)) if b - a < 30
        )
        del score
        return one["context"][chars[first, 0] : chars[last, 1]].strip()
    logits = alone(run, apply, encode(one["text"]), encode(one["text_b"])).heads["class"]
    return float(logits[0]) if kind == "regression" else int(np.argmax(logits))


@pytest.mark.parametrize("kind", HEADS)
def test_heads_answer_each_example_as_alone(kind, wordpiece, folder):
    run = trained(wordpiece, (HEADS[kind],), num_labels=1 if kind in ("regression", "choice") else 3)
    found, _ = evaluate(run, kind, folder)
    apply = jax.jit(run.model.apply)
    names = found.task.labels()
    expected = [by_hand(run, apply, kind, one, names) for one in found.examples]
    assert len(expected) == 7
    if kind == "regression":
        assert found.predictions == pytest.approx(expected, abs=1e-4)
    else:
        assert found.predictions == expected and len({str(one) for one in expected}) > 1
    assert found.scores == metrics.score(found.task, expected, found.examples) or kind == "regression"
    trivial = baselines.scores(found.task, "validation")
    assert str(found.baselines) == str(trivial) and trivial  # NaN is not equal to itself
    assert list(found.scores) == list(next(iter(trivial.values())))


def test_answers_go_by_the_names_of_labels(classifier, folder):
    """The labels that the head has learned may come in another order, and must be those of the task."""

    def learned(*names):
        config = copy.deepcopy(classifier.config)
        config.task.labels = names
        return dataclasses.replace(classifier, config=config)

    places, lines = evaluate(learned(), "class", folder)
    assert "labels is not known; they are taken in the task's order, left, middle, right" in str(lines)
    names = ("right", "left", "middle")
    named, lines = evaluate(learned(*names), "class", folder)
    shouted, _ = evaluate(learned(*map(str.upper, names)), "class", folder)
    assert shouted.predictions == named.predictions and "not known" not in str(lines)
    assert named.predictions == [("left", "middle", "right").index(names[place]) for place in places.predictions]
    with pytest.raises(ConfigError, match="has the labels left, middle, right, this run has learned A, b, c"):
        evaluate(learned("A", "b", "c"), "class", folder)


def test_answers_depend_neither_on_the_batch_nor_on_the_limit(classifier, folder):
    whole, _ = evaluate(classifier, "class", folder)
    small, _ = evaluate(classifier, "class", folder, batch_size=3)
    first, _ = evaluate(classifier, "class", folder, limit=5)
    train, _ = evaluate(classifier, "class", folder, split="train")
    assert whole.predictions == small.predictions == train.predictions[2:]
    assert whole.predictions[:5] == first.predictions and len(first.examples) == 5
    assert [one["label"] for one in train.examples] == [0, 1, 2] * 3  # in order, each once


def test_without_labels_there_are_predictions_and_no_scores(classifier, folder):
    found, said = evaluate(classifier, "class", folder, split="test")
    assert len(found.predictions) == 2 and found.scores is None and found.baselines == {}
    assert "has no label" in said


def test_questions_may_have_no_answer_where_one_has_none_or_one_of_training_has():
    task = Fake("span", ("squad",), train=[{"answers": (("a", 0),)}, {"answers": ()}])
    assert evaluation._unanswerable(task, [{"answers": None}])
    assert not evaluation._unanswerable(task, [{"answers": (("b", 1),)}])
    assert not evaluation._unanswerable(Fake("span", ("squad",), train=[{"answers": (("a", 0),)}]), [{"answers": None}])


def test_words_and_choices_are_chosen_by_a_model_that_was_never_finetuned(writer, folder):
    found, said = evaluate(writer, "class", folder)
    assert set(found.predictions) <= {0, 1, 2} and "left, middle, right" in said
    short = dataclasses.replace(writer, config=writer.config.copy_and_resolve_references())
    short.config.data.sequence_length = 8
    shown, said = evaluate(short, "choice", folder, limit=4)
    assert "of 4 prompts are cut" in said
    apply = jax.jit(lambda tokens: jax.nn.log_softmax(writer.model.apply({"params": writer.params}, tokens).logits[0]))
    for prediction, one in zip(shown.predictions, shown.examples, strict=True):
        means = []
        for choice in one["choices"]:
            prompt, more = (writer.tokenizer.encode(text) for text in (one["context"], f" {choice}"))
            room = 8 - max(len(writer.tokenizer.encode(f" {c}")) for c in one["choices"])
            prompt = prompt[-(room - 1) :]  # what is continued is its end; and the token that ends texts has room
            ids = np.concatenate([prompt, more])
            row = np.zeros((1, 8), np.int32)
            row[0, : len(ids)] = ids
            places = np.arange(len(prompt) - 1, len(ids) - 1)
            means.append(np.asarray(apply({"tokens": row}))[places, more].mean())
        assert prediction == int(np.argmax(means))


def test_a_model_that_has_learned_to_respond_may_say_anything(writer, folder):
    config = writer.config.copy_and_resolve_references()
    config.objective.name = "responses"
    run = dataclasses.replace(writer, config=config)
    found, said = evaluate(run, "class", folder, limit=3)
    assert found.predictions == [None] * 3 and "3 of 3 answers are none that the task knows" in said
    assert found.scores["accuracy"] == 0


def test_plain_text_has_a_perplexity_by_words(writer, folder):
    found, said = evaluate(writer, "lm", folder)
    (one,) = found.examples
    nats = found.predictions[0].nats
    assert found.scores["perplexity"] == pytest.approx(np.exp(nats / (len(one["text"].split()) + 1)))
    assert "unigram" in found.baselines and "does not give back" not in said
    uniform = dataclasses.replace(writer, params=jax.tree.map(jnp.zeros_like, writer.params))
    tokens = len(writer.tokenizer.encode(one["text"])) + 1  # and what ends the text
    nats = tokens * np.log(writer.tokenizer.vocab_size)
    found, _ = evaluate(uniform, "lm", folder)
    scores = found.scores
    assert scores["perplexity"] == pytest.approx(np.exp(nats / (len(one["text"].split()) + 1)), rel=1e-4)
    assert scores["token_perplexity"] == pytest.approx(writer.tokenizer.vocab_size, rel=1e-4)
    assert scores["word_perplexity"] == pytest.approx(np.exp(nats / len(one["text"].split())), rel=1e-4)
    assert scores["byte_perplexity"] == pytest.approx(np.exp(nats / len(one["text"])), rel=1e-4)
    assert scores["bits_per_byte"] == scores["bits_per_character"] == pytest.approx(nats / np.log(2) / len(one["text"]))


def test_a_tokenizer_that_changes_the_text_is_named(wordpiece):
    read = " ".join(WORDS)
    assert evaluation._lost(wordpiece, [read] * 2) is None
    assert evaluation._lost(wordpiece, [read, f"{read}\nThe a"]) == (f"{read}\nThe a"[-26:], f"{read} the a"[-26:])
    said = []
    writes = types.SimpleNamespace(tokenizer=wordpiece, report=said.append, likelihoods=lambda texts, units: [])
    evaluation._likelihoods(writes, Fake("lm", ("perplexity",), units="words"), [{"text": "the\nfile"}])
    assert "fake: the tokenizer does not give back the text: 'the\\nfile' becomes 'the file'" in said[0]


def test_examples_are_shown_in_front_of_prompts_only(writer, classifier, folder):
    with pytest.raises(ConfigError, match="--num_shots=2 .* without a prompt"):
        evaluate(classifier, "class", folder, num_shots=2)
    with pytest.raises(ConfigError, match="--num_shots=2"):
        evaluate(writer, "lm", folder, num_shots=2)


def test_the_first_training_examples_are_shown_with_their_labels(writer, folder, monkeypatch):
    asked = []

    def answer_scores(self, examples, words):
        asked.extend(example["inputs"] for example in examples)
        return [AnswerScores(np.zeros(3), np.ones(3))] * len(examples)

    monkeypatch.setattr(evaluation.predict.LanguageModel, "answer_scores", answer_scores)
    whole = dataclasses.replace(writer, config=writer.config.copy_and_resolve_references())
    whole.config.data.sequence_length = 1024
    found, _ = evaluate(whole, "class", folder, limit=2, num_shots=2)
    first, second = itertools.islice(found.task.examples("train"), 2)
    shown = [f"jsonl:class sentence1: {one['text']} sentence2: {one['text_b']}" for one in (first, second)]
    for inputs, one in zip(asked, found.examples, strict=True):
        prompt = f"jsonl:class sentence1: {one['text']} sentence2: {one['text_b']}"
        assert inputs == f"{shown[0]} left\n\n{shown[1]} middle\n\n{prompt}"


def test_calibrated_answers_are_held_against_inputs_that_say_nothing(writer, folder, monkeypatch):
    """A label that a model likes to say anyway wins only where it is more probable than without the input."""
    asked = []

    def answer_scores(self, examples, words):
        asked.append([example["inputs"] for example in examples])
        empty = len(asked) > 1
        log_probs = np.log([0.7, 0.2, 0.1] if empty else [0.6, 0.1, 0.3])
        return [AnswerScores(log_probs, np.ones(3))] * len(examples)

    monkeypatch.setattr(evaluation.predict.LanguageModel, "answer_scores", answer_scores)
    found, _ = evaluate(writer, "class", folder, in_context=InContext(scoring="calibrated"))
    assert found.predictions == [2] * 7
    first = "jsonl:class sentence1: {0} sentence2: {0}".format
    assert asked[1] == [first("N/A"), first("[MASK]"), first("")]  # once for all examples
    with pytest.raises(ConfigError, match="--label_scoring=token compares labels"):
        config = writer.config.copy_and_resolve_references()
        config.objective.name = "responses"
        run = dataclasses.replace(writer, config=config)
        evaluate(run, "class", folder, in_context=InContext(scoring="token"))


def test_choices_are_compared_in_every_way(writer, folder):
    for how in ("answer", "token", "character", "calibrated"):
        found, _ = evaluate(writer, "choice", folder, num_shots=1, in_context=InContext(1, "random", how))
        assert all(p < len(one["choices"]) for p, one in zip(found.predictions, found.examples, strict=True))
        assert set(found.errors) == {"accuracy"} and 0 <= found.scores["accuracy"] <= 1


def test_a_run_is_read_as_it_was_trained():
    config = get_base()
    config.task.update(name="rte,cola", files="GLUE", limit=3)
    made = evaluation.config_for(config, "cola", "")
    assert made.task.files == "GLUE/cola" and made.task.instructions and made.task.limit == 0
    config.task.name = "cola"
    made = evaluation.config_for(config, "cola", "")
    assert made.task.files == "GLUE" and not made.task.instructions
    assert evaluation.config_for(config, "rte", "").task.files == ""


@pytest.mark.parametrize("heads, num_labels, kind, message", [
    (("mlm", "nsp"), 3, "class", "heads mlm, nsp, cannot answer task jsonl:class .*finetune it first"),
    (("class",), 3, "tag", "of kind tag, this run has learned another: its heads are class"),
    (("class",), 5, "class", "asks for one of 3 labels, this run's head gives 5 scores"),
    (("class",), 3, "regression", "asks for a number, this run's head gives 3 scores"),
    (("class",), 3, "lm", "takes a decoder with the head lm"),
])  # fmt: skip
def test_what_a_model_cannot_answer_is_refused(heads, num_labels, kind, message, classifier, folder):
    config = dataclasses.replace(classifier.model.config, heads_out=heads, num_labels=num_labels)
    run = dataclasses.replace(classifier, model=types.SimpleNamespace(config=config))
    with pytest.raises(ConfigError, match=message):
        evaluate(run, kind, folder)


def test_a_split_that_is_missing_or_empty_is_refused(classifier, folder, monkeypatch):
    with pytest.raises(DataError, match="test.jsonl"):
        evaluate(classifier, "tag", folder, split="test")
    empty = Fake("class", ("accuracy",), ("a", "b", "c"), train=[], test=[])
    monkeypatch.setattr(evaluation.tasks, "get", lambda *_: empty)
    with pytest.raises(DataError, match="the test split of task jsonl:class is empty"):
        evaluate(classifier, "class", folder, split="test")


@pytest.mark.parametrize("learned", [False, True])
def test_pairs_are_compared_by_the_cosines_of_their_vectors(wordpiece, folder, learned):
    """Of a model that was pretrained alone their means, of one that has learned vectors what it has learned."""
    heads, pooling = (("embedding",), "first") if learned else (("mlm",), "mean")
    run = trained(wordpiece, heads, pooling="first")
    found, said = evaluate(run, "regression", folder)
    expected = []
    for one in found.examples:
        states = []
        for text in (one["text"], one["text_b"]):
            ids = np.array([wordpiece.tables.cls, *wordpiece.encode(text)[:22], wordpiece.tables.sep])
            hidden = np.asarray(run.model.apply({"params": run.params}, {"tokens": ids[None]}).hidden[0])
            states.append(hidden.mean(axis=0) if pooling == "mean" else hidden[0])
        first, second = (state / np.linalg.norm(state) for state in states)
        expected.append(first @ second)
    np.testing.assert_allclose(found.predictions, expected, atol=1e-5)
    assert found.scores == metrics.score(found.task, found.predictions, found.examples) and "cosine" in str(said)
    other, _ = evaluate(run, "regression", folder, pooling="max")
    assert np.abs(np.array(other.predictions) - expected).max() > 1e-3


def test_vectors_need_texts_to_compare_and_a_body_of_one_stack(classifier, writer, folder):
    with pytest.raises(
        ConfigError, match="--pooling=mean asks for vectors.*jsonl:class of kind class does not compare"
    ):
        evaluate(classifier, "class", folder, pooling="mean")
    with pytest.raises(ConfigError, match="--pooling=first: the first token of a decoder has read nothing"):
        evaluate(writer, "regression", folder, pooling="first")
    assert len(evaluate(writer, "regression", folder, pooling="last", limit=2)[0].predictions) == 2
