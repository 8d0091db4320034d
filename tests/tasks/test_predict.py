"""What models that write answer, and how probable texts are, against loops over single tokens."""

import dataclasses
import functools
import io
import pathlib
import tempfile

import jax
import numpy as np
import pytest
import sentencepiece

from cloze.data import tokenizers as tok
from cloze.data.encoding import Layout
from cloze.decoding import DecodingOptions
from cloze.errors import ConfigError, DataError
from cloze.interop.tokenizers import load_hf
from cloze.tasks import label_scores, metrics, shots
from cloze.tasks.predict import LanguageModel, from_heads
from tests.data import fakes
from tests.data.features import features
from tests.decoding import models as tiny
from tests.tasks.fakes import Fake

LENGTH, END, START = tiny.PROMPT + tiny.WRITTEN + 2, 1, 2  # as many as the model has positions
DECODER = Layout("text", "decoder", LENGTH, end=(END,))
TWO_STACKS = Layout(
    "text", "encoder_decoder", LENGTH, end=(END,), target_length=6, target_start=(START,), decoder_start=3
)
PROMPTS = [{"inputs": text, "targets": None} for text in ("11 12 13", "14", "15 16 17 18 19", "20 21")]


class Tokenizer(fakes.Tokenizer):
    """Numbers, and back."""

    kind, ends, has_piece = "word", (), np.ones(tiny.VOCAB, bool)

    def encode(self, text):
        return self.encode_batch([text])[0]

    def decode(self, ids):
        return " ".join(str(number) for number in ids)


def writer(layout=DECODER, batch_size=3, **changes):
    """(LanguageModel, list of what it reports)."""
    family, preset = ("gpt2", "small") if layout.architecture == "decoder" else ("t5", "small")
    model, params = tiny.build(family, preset)
    said = []
    made = LanguageModel(model, params, Tokenizer(), layout, 0, "causal", batch_size, said.append)
    return dataclasses.replace(made, **changes), said


def chosen(made, examples, words, how="answer"):
    """[int], the best of the words."""
    return label_scores.best(made.answer_scores(examples, words), words, how)


@pytest.fixture(scope="module")
def log_probs():
    """(LanguageModel, ids of a decoder, what its encoder reads) -> log-probabilities f64 [n, V] after each id."""

    @jax.jit
    def decoder(params, tokens):
        return writer()[0].model.apply({"params": params}, {"tokens": tokens}).logits

    @jax.jit
    def two_stacks(params, tokens, segments, decoder_tokens):
        batch = {"tokens": tokens, "segments": segments, "decoder_tokens": decoder_tokens}
        return writer(TWO_STACKS)[0].model.apply({"params": params}, batch).logits

    def run(made, ids, inputs=None):
        row = np.zeros((1, LENGTH), np.int32)  # padded to one length, for which it is compiled once
        row[0, : len(ids)] = ids
        if inputs is None:
            logits = decoder(made.params, row)
        else:
            read = np.zeros((1, LENGTH), np.int32)
            read[0, : len(inputs)] = inputs
            logits = two_stacks(made.params, read, (np.arange(LENGTH) < len(inputs))[None].astype(np.int32), row)
        logits = np.asarray(logits[0, : len(ids), : tiny.VOCAB], np.float64)
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))

    return run


def token_by_token(log_probs, made, text, count):
    """A greedy answer, the whole row being read again for each token."""
    ids = list(made.tokenizer.encode(text))
    inputs = [*ids, END] if made.two_streams else None
    row, first = ([3, START], 2) if made.two_streams else (ids, len(ids))
    row = list(row)
    while len(row) < first + count:
        best = int(np.argmax(log_probs(made, row, inputs)[-1]))
        if best == END:
            break
        row.append(best)
    return made.tokenizer.decode(row[first:])


@pytest.mark.parametrize("layout", [DECODER, TWO_STACKS], ids=["decoder", "two stacks"])
def test_answers_are_written_token_by_token(layout, log_probs):
    made, _ = writer(layout)
    answers = made.write(PROMPTS, 4)
    assert answers == [token_by_token(log_probs, made, prompt["inputs"], 4) for prompt in PROMPTS]
    assert len(set(answers)) > 1


def test_neither_spare_rows_nor_ids_without_a_piece_are_written():
    made, _ = writer()
    first = {int(answer.split()[0]) for answer in made.write(PROMPTS, 1)}
    made.tokenizer.has_piece = np.isin(np.arange(tiny.VOCAB - 9), [*first], invert=True)  # the model has nine more
    written = {int(i) for answer in made.write(PROMPTS, 4) for i in answer.split()}
    assert made.tokenizer.has_piece[sorted(written)].all()


def test_of_some_prompts_nothing_is_left_to_go_on_from():
    decoder, two_stacks = writer()[0], writer(TWO_STACKS)[0]
    framed, _ = writer(dataclasses.replace(DECODER, start=(START,)))
    assert decoder.begins("11") and not decoder.begins("")
    assert framed.begins("") and two_stacks.begins("")


def test_each_of_several_ends_ends_an_answer():
    made, _ = writer()
    first, *others = made.write(PROMPTS[:1], 4)[0].split()
    end = next(piece for piece in others if piece != first)
    made.tokenizer.ends = (END, int(end))
    assert made.write(PROMPTS[:1], 4) == [" ".join([first, *others[: others.index(end)]])]


def test_what_is_drawn_depends_on_seed_prompt_and_sample_alone():
    drawn = {}
    for size, seed in ((1, 0), (3, 0), (3, 1)):
        made, _ = writer(batch_size=size)
        options = DecodingOptions(max_tokens=4, temperature=2.0, num_samples=2, seed=seed)
        found = made.answers(made.prompts(PROMPTS, 4), options)
        drawn[size, seed] = [[answer.text for answer in answers] for answers in found]
    assert drawn[1, 0] == drawn[3, 0] != drawn[3, 1]
    assert len({text for texts in drawn[3, 0] for text in texts}) == 2 * len(PROMPTS)


def test_rows_of_prompts_leave_room_for_answers():
    made, said = writer()
    long = {"inputs": " ".join(map(str, range(11, 31))), "targets": None}
    assert [len(made.prompts([long], answer)[0]) for answer in (1, 4)] == [11, 8]  # and a place for the end
    assert "1 of 1 prompts are cut" in said[0]
    prompts = made.prompts([*PROMPTS, long], 4)
    sizes = {made._rows(some, made.room(4))[0].shape for some in (prompts[:3], prompts[3:])}
    assert sizes == {(3, 9)}  # one shape, and with 4 tokens behind it no longer than the model's positions
    with pytest.raises(ConfigError, match="rows of 13 tokens have no room for a prompt beside answers of 11"):
        made.room(11)


@pytest.mark.parametrize("layout", [DECODER, TWO_STACKS], ids=["decoder", "two stacks"])
def test_the_most_probable_words_are_chosen(layout, log_probs):
    made, _ = writer(layout)
    words = [["31", "32 33", "34"], ["41 42", "43"], ["44", "45"], ["46", "31"]]
    sums, means = [], []
    for prompt, some in zip(PROMPTS, words, strict=True):
        scores = []
        for word in some:
            ids, answer = made.tokenizer.encode(prompt["inputs"]), [*layout.target_start, *made.tokenizer.encode(word)]
            row, inputs = ([3, *answer], [*ids, END]) if made.two_streams else ([*ids, *answer], None)
            found = log_probs(made, row[:-1], inputs)[-len(answer) :]
            scores.append(found[np.arange(len(answer)), answer])
        sums.append(int(np.argmax([score.sum() for score in scores])))
        means.append(int(np.argmax([score.mean() for score in scores])))
    assert chosen(made, PROMPTS, words) == sums
    assert chosen(made, PROMPTS, words, "token") == means
    one_by_one, _ = writer(layout, batch_size=2)
    assert chosen(one_by_one, PROMPTS, words) == sums


def test_a_prompt_is_cut_for_its_own_answers_alone(monkeypatch):
    """Whatever else is asked for; otherwise answers would depend on the split."""
    made, _ = writer(batch_size=2)
    long = {"inputs": " ".join(map(str, range(11, 31))), "targets": None}
    words = [["31", "32"], ["33 34 35 36 37", "31"], ["31 32", "33"]]
    assert [len(ids) for ids in made.prompts([long] * 3, [1, 5, 2])] == [11, 7, 10]
    together = chosen(made, [long] * 3, words)
    assert together == [chosen(made, [long], [some])[0] for some in words]
    asked = []
    monkeypatch.setattr(
        "cloze.decoding.log_probability", lambda model, params, batch: asked.append(batch) or np.zeros((2, 2))
    )
    chosen(made, [long] * 3, words)
    assert [(batch["prediction_positions"][:, 0, 0] + 1).tolist() for batch in asked] == [[11, 7], [10, 10]]
    assert len({batch["targets"].shape for batch in asked}) == 1  # one program


@pytest.mark.parametrize("layout", [DECODER, TWO_STACKS], ids=["decoder", "two stacks"])
def test_what_is_gone_on_from_is_the_end_of_a_prompt(layout):
    long = [{"inputs": " ".join(map(str, range(11, 31))), "targets": None}]
    answered, _ = writer(layout)
    continued, said = writer(dataclasses.replace(layout, cut_left=True, start=(START,)))
    (first,), (last,) = answered.prompts(long, 2), continued.prompts(long, 2)
    end = [END] if answered.two_streams else []
    assert first.tolist() == [*range(11, 10 + len(first) + (not end)), *end]
    assert last.tolist() == [START, *range(31 - len(last) + 1 + len(end), 31), *end]
    assert "1 of 1 prompts are cut" in said[0]


def test_each_token_of_a_long_text_is_scored_once_with_half_a_row_before_it(log_probs):
    made, said = writer()
    counts = (0, 1, 12, 13, 14, 19, 20, 33)
    texts = [" ".join(str(11 + (7 * i) % 40) for i in range(count)) for count in counts]
    found = [one.nats for one in made.likelihoods(texts)]
    for nats, text in zip(found, texts, strict=True):
        ids = [END, *made.tokenizer.encode(text)]
        expected = 0.0
        for place in range(1, len(ids)):
            window = 0 if place <= LENGTH else 6 * -(-(place - LENGTH) // 6)  # the first that holds it as a target
            assert place - window >= min(place, 7) and place - window <= LENGTH
            expected -= log_probs(made, ids[window:place])[-1, ids[place]]
        assert nats == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert "scoring 8 texts in 16 windows of 13 tokens" in said


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary():
    made, _ = writer()
    made = dataclasses.replace(made, params=jax.tree.map(np.zeros_like, made.params))
    texts = ["11 12 13 14", "", " ".join(["15"] * 20)]  # a token a word, and what ends each text
    counts = [len(metrics.units(text, "words")) for text in texts]
    assert counts == [5, 1, 21]
    assert metrics.perplexity(made.likelihoods(texts, "words"), counts)["perplexity"] == pytest.approx(tiny.VOCAB)
    (line,) = made.likelihoods(["11 12 13 14\n"], "words")  # whose end the tokenizer would have to give
    assert line.nats == pytest.approx(4 * np.log(tiny.VOCAB), rel=1e-5)


def test_the_end_of_a_text_is_the_token_that_ends_texts(log_probs):
    made, _ = writer()
    (found,) = made.likelihoods(["11 12"], "words")
    scores = log_probs(made, [END, 11, 12])
    assert found.nats == pytest.approx(-scores[[0, 1, 2], [11, 12, END]].sum(), rel=1e-4)


def test_of_last_words_only_their_tokens_count(log_probs):
    made, _ = writer(dataclasses.replace(DECODER, start=(START,)))
    text = "11 12 13 14.15"  # the last word has two tokens
    (found,) = made.likelihoods([text], "last_word")
    ids = [START, 11, 12, 13, 14, 15]
    scores = log_probs(made, ids[:-1])
    assert found.nats == pytest.approx(-scores[3, 14] - scores[4, 15], rel=1e-4)


def test_last_words_are_written_after_the_end_of_what_stands_before(log_probs, monkeypatch):
    monkeypatch.setattr("cloze.tasks.predict._WORD", 3)
    made, _ = writer()
    texts = ["11 12 13 99", "99", " ".join(map(str, range(11, 31)))]
    expected = []
    for text in texts:
        ids = [END, *made.tokenizer.encode(text)[:-1]][-(LENGTH - 3) :]
        best = int(np.argmax(log_probs(made, ids)[-1]))
        expected.append("" if best == END else str(best))
    assert made.last_words(texts) == expected
    monkeypatch.setattr(LanguageModel, "_continue", lambda self, prompts, count: ["it's. So", "door.", "", "“"])
    assert made.last_words(["a b"] * 4) == ["it's", "door", "", "“"]


# --- words behind prompts ---

PHRASES = ["I call it great news . Answer: it is positive", "Is it negative ? no , positive", "news\n  positive"] * 9


@functools.cache
def tokenizer_of(kind):
    """A tokenizer that knows "positive" and "negative" as words; of Gemma, which puts no marker before a text."""
    if kind != "gemma":
        return tok.train(PHRASES, kind, 400, True, 0)
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(PHRASES), model_writer=written, model_type="bpe", vocab_size=330, byte_fallback=True,
        hard_vocab_limit=False, add_dummy_prefix=False, normalization_rule_name="identity", minloglevel=2,
        remove_extra_whitespaces=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3, bos_piece="<bos>", eos_piece="<eos>",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        pathlib.Path(directory, "tokenizer.model").write_bytes(written.getvalue())
        pathlib.Path(directory, "config.json").write_text('{"model_type": "gemma"}')
        return load_hf(directory)


SPACED = {"byte_bpe": "\u0120positive", "bpe": "positive</w>", "wordpiece": "positive", "word": "positive"}


@pytest.mark.parametrize("kind", [*tok.KINDS, "gemma"])
def test_words_are_what_they_are_behind_their_prompts(kind):
    tokenizer = tokenizer_of(kind)
    made = LanguageModel(None, None, tokenizer, dataclasses.replace(DECODER, length=64), 0, "causal", 1)
    words = ["positive", "negative", "it is"]
    for prompt in ("it is", "Answer: ", "Answer:\n", "news\n  "):  # whose last spaces may be of the next word's piece
        ((ids, (lost,))) = made.continued([{"inputs": prompt}], [words])
        before = tokenizer.encode(prompt)
        before = before[: len(before) - lost].tolist()
        text = prompt if prompt[-1].isspace() else f"{prompt} "
        assert [before + some.tolist() for some in ids[0]] == [tokenizer.encode(text + word).tolist() for word in words]
        if not prompt.endswith(("\n", "  ")):
            assert [tokenizer.piece(i) for i in ids[0][0]] == [SPACED.get(kind, "\u2581positive")]


def test_the_answer_of_two_stacks_begins_a_text():
    made = LanguageModel(None, None, tokenizer_of("byte_bpe"), TWO_STACKS, 0, "causal", 1)
    (((ids,),), lost) = made.continued([{"inputs": "it is"}], [["positive"]])
    assert ids.tolist() == [START, *tokenizer_of("byte_bpe").encode("positive")] and lost == [0]


def test_a_word_of_which_nothing_is_left_is_named():
    made = LanguageModel(None, None, tokenizer_of("unigram"), DECODER, 0, "causal", 1)
    with pytest.raises(DataError, match=r"example 'q7' has the answer '\\x07', of which the tokenizer leaves nothing"):
        made.continued([{"inputs": "it is", "id": "q7"}], [["positive", "\x07"]])


# --- examples in front ---

TRAINING = [{"inputs": f"{i} {i}", "targets": f"{i + 1}"} for i in (20, 30, 40)]


def test_examples_stand_in_front_in_the_same_form():
    made, said = writer()
    shown = made.show(PROMPTS, "fake", iter(TRAINING), 1, 1)
    assert shown[1] == {"inputs": "20 20 21\n\n14", "targets": None}
    assert said == [] or "1 examples" in said[0]
    assert shots.cut(" 21 22\n\n30 30") == "21 22" and shots.cut("\n\n30") == "30"


def test_as_many_examples_stand_in_front_as_fit():
    made, said = writer()
    shown = made.show(PROMPTS, "fake", iter(TRAINING), 2, 4)  # 8 tokens for prompts, 3 for each example
    assert [one["inputs"].count("\n\n") for one in shown] == [1, 2, 1, 2]
    assert all(len(ids) < 9 for ids in made.prompts(shown, 4))
    assert shown[0]["inputs"].startswith("20 20 21") and "room for 1.5 of 2 examples" in said[0]


def test_what_stands_between_prompts_and_answers_counts():
    made, _ = writer(dataclasses.replace(DECODER, separator=(END,)))
    shown = made.show(PROMPTS, "fake", iter(TRAINING), 2, 4)
    prompts = made.prompts(shown, 4)
    assert [one["inputs"].count("\n\n") for one in shown] == [1, 2, 0, 1]
    assert [ids[-2:].tolist() for ids in prompts] == [[13, END], [14, END], [19, END], [21, END]]


def test_an_answer_in_front_is_parted_from_its_prompt_by_one_space():
    assert [shots.answered(prompt, "yes") for prompt in ("is it?", "is it? ", "is it?\n", "")] == [
        "is it? yes", "is it? yes", "is it?\nyes", "yes"
    ]  # fmt: skip


def test_dialogues_begin_with_the_turns_of_others():
    turns = [("user", "11"), ("assistant", "12")]
    example, count = shots.show({"turns": tuple(turns)}, [{"turns": tuple(turns)}] * 2, lambda text: False)
    assert example["turns"] == (*turns, *turns, *turns) and count == 2
    with pytest.raises(DataError, match="all have turns, or none"):
        shots.show({"turns": tuple(turns)}, TRAINING, lambda text: True)


def test_more_examples_than_there_are_are_refused():
    with pytest.raises(DataError, match="task fake has 3 training examples: lower --num_shots=4"):
        shots.first(iter(TRAINING), 4, "fake")


# --- heads ---


def test_scores_come_back_in_the_order_of_examples_and_of_their_own_choices():
    layout = Layout("choice", "encoder", 16)
    made = features([[5, 5], [5, 5, 5], [5]], layout)
    examples = [{"choices": ("a", "b")}, {"choices": ("a", "b", "c")}, {"choices": ("a",)}]
    task = Fake("choice", ("accuracy",))
    scored = [
        (np.array([[0.0, 1.0, 9.0], [0.0, 1.0, 2.0]]), np.array([0, 1])),
        (np.array([[0.0, 9.0, 9.0], [9.0, 9.0, 9.0]]), np.array([2, -1])),
    ]
    assert from_heads(task, examples, made, scored, None) == [1, 2, 0]  # what others have more of is no choice
    assert from_heads(task, examples, made, scored[::-1], None) == [1, 2, 0]
