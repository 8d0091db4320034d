"""Raw examples become tokens and labels in the way that each kind of task and of model wants them."""

import dataclasses
from pydoc_data.topics import topics

import numpy as np
import pytest
import tokenizers as hf
from hypothesis import given, settings
from hypothesis import strategies as st

from cloze.data import encoding
from cloze.data import tokenizers as tok
from cloze.data.encoding import Layout, passages, texts
from cloze.errors import ConfigError, DataError
from cloze.tasks import answers
from cloze.tasks.readers import Record
from tests.data import fakes

# The tokens of "17 18" are 17 and 18; those below 10 are special.
NUMBERS = fakes.Tokenizer()
CLS, SEP, END, BOS, START, DELIM, EXTRACT = range(1, 8)
BERT = Layout("class", "encoder", 16, start=(CLS,), separator=(SEP,), end=(SEP,), types=True)
ROBERTA = dataclasses.replace(BERT, separator=(SEP, SEP), types=False)
XLNET = dataclasses.replace(BERT, start=(), end=(SEP, CLS), pool="last")
GPT = Layout("class", "decoder", 16, separator=(END,), end=(END,), pool="last")
MARKED = dataclasses.replace(GPT, start=(START,), separator=(DELIM,), end=(EXTRACT,))
T5 = Layout("text", "encoder_decoder", 16, end=(END,), target_length=5)
PAIR = {"text": "11 12", "text_b": "21", "label": 1}
ONE = {"text": "11 12 13", "label": 0}


def encode(layout, *examples, kind=None, labels=("no", "yes"), tokenizer=NUMBERS, training=True, **changes):
    layout = dataclasses.replace(layout, kind=kind or layout.kind, **changes)
    return encoding.encode(iter(examples), tokenizer, layout, labels, training=training)


def cut(arrays, name="tokens", offsets="offsets"):
    return [part.tolist() for part in np.split(arrays[name], arrays[offsets][1:-1])]


# --- classes, numbers, choices ---


@pytest.mark.parametrize("layout, example, tokens, types, pool", [
    (BERT, ONE, [CLS, 11, 12, 13, SEP], 5, 0),
    (BERT, PAIR, [CLS, 11, 12, SEP, 21, SEP], 4, 0),
    (ROBERTA, PAIR, [CLS, 11, 12, SEP, SEP, 21, SEP], 7, 0),
    (XLNET, PAIR, [11, 12, SEP, 21, SEP, CLS], 3, 5),
    (GPT, ONE, [11, 12, 13, END], 4, 3),
    (GPT, PAIR, [11, 12, END, 21, END], 5, 4),
    (MARKED, ONE, [START, 11, 12, 13, EXTRACT], 5, 4),
    (MARKED, PAIR, [START, 11, 12, DELIM, 21, EXTRACT], 6, 5),
])  # fmt: skip
def test_texts_are_framed_as_each_family_wants(layout, example, tokens, types, pool):
    made = encode(layout, example)
    assert cut(made) == [tokens] and made["first_text"].tolist() == [0, 1]
    assert made["types"].tolist() == [types] and made["pool"].tolist() == [pool] and made["cut"].tolist() == [0]
    assert made["labels"].tolist() == [example["label"]] and made["example"].tolist() == [0]


def test_arrays_have_the_promised_types_also_without_examples():
    for made in (encode(BERT), encode(BERT, PAIR)):
        assert {name: array.dtype.name for name, array in made.items()} == {
            "offsets": "int64", "first_text": "int64", "labels": "int32", **dict.fromkeys(
                ("tokens", "types", "pool", "cut", "example"), "int32"),
        }  # fmt: skip
    assert encode(BERT, kind="span")["labels"].shape == (0, 2)
    assert encode(BERT, kind="regression")["labels"].dtype == np.float32


def test_both_orders_are_two_texts_of_one_feature():
    made = encode(MARKED, PAIR, PAIR, both_orders=True)
    assert cut(made)[:2] == [[START, 11, 12, DELIM, 21, EXTRACT], [START, 21, DELIM, 11, 12, EXTRACT]]
    assert made["first_text"].tolist() == [0, 2, 4] and made["pool"].tolist() == [5] * 4
    assert made["example"].tolist() == [0, 1] and made["labels"].tolist() == [1, 1]
    with pytest.raises(ConfigError, match=r"example 0 \(from 0\) has one text: set task.both_orders=False"):
        encode(MARKED, ONE, both_orders=True)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(2, 30))
def test_the_longer_text_of_a_pair_is_cut_token_by_token(first, second, room):
    expected = [first, second]
    while sum(expected) > room:
        expected[0 if expected[0] > expected[1] else 1] -= 1
    assert list(texts.longest_first(first, second, room)) == expected


def test_the_parts_of_long_texts_that_stay_are_their_beginnings():
    long, other = " ".join(map(str, range(100, 120))), " ".join(map(str, range(200, 220)))
    made = encode(BERT, {"text": long, "label": 0}, {"text": long, "text_b": other, "label": 1}, length=10)
    assert cut(made) == [[CLS, *range(100, 108), SEP], [CLS, *range(100, 104), SEP, *range(200, 203), SEP]]
    assert made["cut"].tolist() == [12, 33]
    assert encoding.describe(made, BERT) == ["2 of 2 texts are cut, by 22.5 tokens on average"]
    assert encoding.describe(encode(BERT, ONE), BERT) == []


def test_numbers_may_be_unknown_where_nothing_is_learned():
    made = encode(BERT, {"text": "11", "label": 2.5}, {"text": "12", "label": None}, kind="regression", training=False)
    np.testing.assert_array_equal(made["labels"], np.array([2.5, np.nan], np.float32))
    assert encode(BERT, {"text": "11", "label": None}, training=False)["labels"].tolist() == [-1]


def test_each_choice_stands_behind_the_context():
    question = {"context": "11 12", "choices": ("21", "22 23", "24"), "label": 2}
    made = encode(BERT, question, question | {"choices": ("31", "32"), "label": 0}, kind="choice", labels=())
    assert cut(made) == [[CLS, 11, 12, SEP, *choice, SEP] for choice in ([21], [22, 23], [24], [31], [32])]
    assert made["first_text"].tolist() == [0, 3, 5] and made["labels"].tolist() == [2, 0]
    assert made["types"].tolist() == [4] * 5
    with pytest.raises(DataError, match="example 0 .* the label 2, which is none of the numbers from 0 to 1"):
        encode(BERT, question | {"choices": ("31", "32")}, kind="choice", labels=())
    with pytest.raises(DataError, match="has no choices"):
        encode(BERT, question | {"choices": ()}, kind="choice", labels=())


def test_examples_are_read_in_parts_without_a_seam(monkeypatch):
    examples = [{"text": f"{10 + i}", "text_b": "11 12", "label": i % 2} for i in range(7)]
    whole = encode(BERT, *examples)
    monkeypatch.setattr(encoding, "_EXAMPLES_PER_CALL", 3)
    parts = encode(BERT, *examples)
    assert whole["example"].tolist() == list(range(7))
    for name, array in whole.items():
        np.testing.assert_array_equal(parts[name], array)


@pytest.mark.parametrize("kind, example, message", [
    ("class", {"text": "11", "label": 2, "id": "a7"}, r"example 'a7' has the label 2, which .* 0 to 1 \(no, yes\)"),
    ("class", {"text": "11", "label": -1}, "the label -1"),
    ("class", {"text": "11", "label": "yes"}, "the label 'yes'"),
    ("class", {"text": "11", "label": None}, r"example 0 \(from 0\) has no label to learn"),
    ("regression", {"text": "11", "label": float("inf")}, "the label inf, which is not a finite number"),
    ("regression", {"text": "11", "label": "high"}, "which is not a finite number"),
    ("tag", {"words": ["11", "12"], "tags": [0]}, "has 2 words and 1 tags"),
    ("tag", {"words": ["11"], "tags": [2]}, "has the tag 2"),
    ("tag", {"words": ["11"], "tags": None}, "has no tags to learn"),
    ("span", {"question": "11", "context": "21 22", "answers": (("22", 2),)},
     "the answer '22' at character 2 of its context, where there is ' 2'"),
    ("span", {"question": "11", "context": "21 22", "answers": (("22", -2),)}, "the answer '22' at character -2"),
    ("text", {"inputs": "11", "targets": None}, "has no targets to learn"),
    ("text", {"turns": (("user", "11"),)}, "has no turn of 'assistant'"),
    ("text", {"turns": (("user", "11"), ("assistant", None))}, "has a turn without text"),
])  # fmt: skip
def test_wrong_examples_are_named(kind, example, message):
    with pytest.raises(DataError, match=message):
        encode(BERT, example, kind=kind)


@pytest.mark.parametrize("layout, example, message", [
    (dict(length=2), ONE, "rows of 2 tokens have no room for text beside 2 special tokens: raise data.sequence_length"),
    (dict(length=4), PAIR, "no room for two texts beside 3 special"),
    (dict(kind="span", length=6, max_question=3), {"question": "1 2 3", "context": "4", "answers": ()},
     "no room for a passage beside a question of 3"),
    (dict(kind="text", architecture="encoder_decoder", target_length=1), {"inputs": "1", "targets": "2"},
     "no room for an answer and its end: raise data.target_length"),
])  # fmt: skip
def test_rows_without_room_are_refused(layout, example, message):
    with pytest.raises(ConfigError, match=message):
        encode(BERT, example, **layout)


def test_a_text_without_any_token_is_refused():
    with pytest.raises(DataError, match=r"^example 1 \(from 0\) has a text without a token"):
        encode(GPT, ONE, {"text": "", "label": 0}, end=(), separator=())
    example = Record({"text": "", "label": 0, "id": "q7"}, "train.jsonl:3")
    for shown in (example, {**ONE, "text": "", "example": example}):  # and one that is read as text
        with pytest.raises(DataError, match="^train.jsonl:3: example .* has a text without a token"):
            encode(GPT, ONE, shown, end=(), separator=())


# --- tokenizers as they are ---

TEXTS = [topics[name] for name in ("assignment", "calls", "class", "if", "strings")]
HARD = ("caf\u00e9", "\u65e5\u672c", "\U0001f600", "\u00bd", "it's", "a-b", "(", "x")
WORDS = sorted({word for word in TEXTS[1].split() if word.isascii()})[::9] + list(HARD)


@pytest.fixture(scope="module", params=tok.KINDS)
def tokenizer(request):
    return tok.train([*TEXTS, " ".join(HARD)] * 2, request.param, 700, True, 0)


def test_pairs_are_those_of_the_library():
    ours = tok.train(TEXTS, "wordpiece", 500, True, 0)
    theirs, (cls, sep) = hf.Tokenizer.from_str(ours.model.content.decode()), (ours.tables.cls, ours.tables.sep)
    theirs.post_processor = hf.processors.TemplateProcessing(
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    theirs.enable_truncation(max_length=23)  # 20 for text: the library gives an odd token to the longer text
    sizes = ((3, 5), (3, 90), (90, 3), (90, 80), (30, 30), (0, 4))
    examples = [{"text": TEXTS[0][:a], "text_b": TEXTS[1][:b], "label": 0} for a, b in sizes]
    layout = dataclasses.replace(BERT, start=(cls,), separator=(sep,), end=(sep,))
    made = encode(layout, *examples, tokenizer=ours, length=23)
    for tokens, types, example in zip(cut(made), made["types"], examples, strict=True):
        encoding_of = theirs.encode(example["text"], example["text_b"])
        assert encoding_of.ids == tokens
        assert encoding_of.type_ids == [0] * types + [1] * (len(tokens) - types)


@settings(deadline=None, max_examples=60)
@given(words=st.lists(st.sampled_from([*WORDS, "", " ", "x y"]), max_size=12), room=st.integers(1, 30))
def test_first_pieces_of_words_have_their_tags(tokenizer, words, room):
    """Each word is tokenised as it would be alone, with the space before it where the tokenizer wants it."""
    example = {"words": words, "tags": [i % 5 for i in range(len(words))]}
    made = encode(BERT, example, kind="tag", labels="abcde", tokenizer=tokenizer, length=room + 2)
    ids, owners, begun = [], [], False
    for number, word in enumerate(words):
        space = " " if tokenizer.kind == "byte_bpe" and begun else ""
        alone = tokenizer.encode(space + word.strip()).tolist() if word.strip() else []
        begun |= bool(word.strip())
        ids += alone
        owners += [number] * len(alone)
    assert made["tokens"].tolist() == [CLS, *ids[:room], SEP]
    assert made["words"].tolist() == [-1, *owners[:room], -1]
    firsts = [tag if owner not in owners[:i] else -1 for i, owner in enumerate(owners) for tag in [owner % 5]]
    assert made["token_labels"].tolist() == [-1, *firsts[:room], -1]
    assert made["lost"].tolist() == [len(set(owners)) - len(set(owners[:room]))]
    tags = [owner % 5 if owner in owners[:room] else 4 for owner in range(len(words))]
    assert answers.tags(made, [np.maximum(made["token_labels"], 0)], [example], 4) == [tags]


def test_a_word_of_which_nothing_is_left_shifts_no_tag(tokenizer):
    made = encode(BERT, {"words": ["class", "\u200b", "if"], "tags": [0, 1, 2]}, kind="tag", labels="abc",
                  tokenizer=tokenizer)  # fmt: skip
    pieces = {int(word): "" for word in made["words"] if word >= 0}
    for word, token in zip(made["words"].tolist(), made["tokens"].tolist(), strict=True):
        if word >= 0:
            pieces[word] += tokenizer.piece(token)
    assert "class" in pieces[0] and "if" in pieces[2]
    labelled = made["token_labels"] >= 0
    assert made["words"][labelled].tolist() == made["token_labels"][labelled].tolist() == sorted(pieces)


def test_tags_that_are_not_known_are_not_scored_but_answered():
    example = {"words": ["11", "12"], "tags": None}
    made = encode(BERT, example, kind="tag", training=False)
    assert made["token_labels"].tolist() == [-1] * 4
    assert answers.tags(made, [np.array([9, 1, 0, 9, 9])], [example], 0) == [[1, 0]]
    made = encode(BERT, {"words": ["11"] * 20, "tags": [0] * 20}, kind="tag")
    assert encoding.describe(made, dataclasses.replace(BERT, kind="tag"))[-1] == (
        "6 words of 1 examples lie behind the end of their rows, and are not predicted"
    )


# --- spans ---


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 12), st.data())
def test_windows_are_those_of_the_library(tokens, size, data):
    stride = data.draw(st.integers(1, size))
    words = hf.Tokenizer(hf.models.WordLevel({"x": 0}, unk_token="x"))
    words.pre_tokenizer = hf.pre_tokenizers.Whitespace()
    words.enable_truncation(max_length=size, stride=size - stride)
    first = words.encode("y " * tokens)
    expected = [(window.offsets[0][0] // 2, window.offsets[-1][1] // 2 + 1) for window in (first, *first.overflowing)]
    assert passages.windows(tokens, size, stride) == expected


def test_windows_repeat_the_question_and_know_their_characters():
    example = {"question": "11 12 13", "context": "21 22 23 24 25", "answers": (("23 24", 6), ("21", 0))}
    made = encode(BERT, example, kind="span", labels=(), length=8, stride=2, max_question=2)
    assert cut(made) == [[CLS, 11, 12, SEP, *part, SEP] for part in ([21, 22, 23], [23, 24, 25])]
    assert made["labels"].tolist() == [[0, 0], [4, 5]] and made["example"].tolist() == [0, 0]
    assert made["types"].tolist() == [4, 4] and made["cut"].tolist() == [1, 0] and made["lost"].tolist() == [0, 0]
    assert cut(made, "char_start") == [[-1] * 4 + [0, 3, 6, -1], [-1] * 4 + [6, 9, 12, -1]]
    assert cut(made, "char_end") == [[-1] * 4 + [2, 5, 8, -1], [-1] * 4 + [8, 11, 14, -1]]


def test_questions_without_an_answer_point_at_the_pooled_token():
    question = {"question": "11", "context": "21 22 23", "answers": ()}
    for layout, place in ((BERT, 0), (GPT, 5)):
        made = encode(layout, question, kind="span", labels=())
        assert made["labels"].tolist() == [[place, place]] and made["lost"].tolist() == [0]
    unknown = encode(BERT, question | {"answers": None}, kind="span", labels=(), training=False)
    assert unknown["labels"].tolist() == [[-1, -1]]
    assert cut(encode(BERT, question | {"context": ""}, kind="span")) == [[CLS, 11, SEP, SEP]]


def test_answers_that_no_window_holds_are_counted():
    example = {"question": "11", "context": "21 22 23 24", "answers": (("22 23 24", 3),)}
    made = encode(BERT, example, kind="span", length=6, stride=1)
    assert made["labels"].tolist() == [[0, 0]] * 3 and made["lost"].tolist() == [1, 0, 0]
    assert encoding.describe(made, dataclasses.replace(BERT, kind="span")) == [
        "1 of 1 examples have an answer that no window holds"
    ]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_the_labelled_tokens_are_those_of_the_answer(tokenizer, data):
    words = data.draw(st.lists(st.sampled_from([word for word in WORDS]), min_size=1, max_size=25))
    context = data.draw(st.sampled_from((" ", "  ", "\n"))).join(words)
    first = data.draw(st.integers(0, len(words) - 1))
    starts = [sum(len(w) for w in words[:i]) + i * ((len(context) - sum(map(len, words))) // max(len(words) - 1, 1))
              for i in range(len(words))]  # fmt: skip
    last = data.draw(st.integers(first, min(first + 3, len(words) - 1)))
    answer = context[starts[first] : starts[last] + len(words[last])]
    example = {"id": "q", "question": "the class", "context": context, "answers": ((answer, starts[first]),)}
    made = encode(BERT, example, kind="span", tokenizer=tokenizer, length=40, stride=7)
    logits = [np.zeros((2, 40)) for _ in made["labels"]]
    for of_window, (start, end), offset in zip(logits, made["labels"], made["offsets"], strict=False):
        if start == 0:
            continue
        of_window[0, start] = of_window[1, end] = 1
        assert made["char_start"][offset + start] == starts[first]
        assert made["char_end"][offset + end] == starts[first] + len(answer)
    if not made["lost"].any():
        options = dict(n_best=5, max_answer=40, null_threshold=None)
        assert answers.spans(made, *zip(*logits, strict=True), [example], **options) == [answer]


def test_an_answer_in_a_word_has_the_tokens_that_hold_it_and_no_others(tokenizer):
    context = "it's (x) a-b"
    places = [(i, k) for i in range(len(context)) for k in range(i + 1, len(context) + 1)]
    places = [(i, k) for i, k in places if not (context[i].isspace() or context[k - 1].isspace())]
    examples = [{"question": "x", "context": context, "answers": ((context[i:k], i),)} for i, k in places]
    made = encode(BERT, *examples, kind="span", tokenizer=tokenizer, length=40)
    for (first, last), offset, (i, k) in zip(made["labels"], made["offsets"], places, strict=False):
        begin, end = (made[f"char_{side}"][[offset + first, offset + last]] for side in ("start", "end"))
        assert begin[0] <= i < end[0] and begin[1] < k <= end[1]


# --- responses ---


@pytest.mark.parametrize("changes, tokens, scored, prefix", [
    (dict(), [11, 12, END, 21, 22, END], [0, 0, 0, 1, 1, 1], 3),
    (dict(separator=()), [11, 12, 21, 22, END], [0, 0, 1, 1, 1], 2),
    (dict(start=(BOS,), separator=()), [BOS, 11, 12, 21, 22, END], [0, 0, 0, 1, 1, 1], 3),
    (dict(loss_on_inputs=True), [11, 12, END, 21, 22, END], [0, 1, 1, 1, 1, 1], 3),
    (dict(length=5), [11, END, 21, 22, END], [0, 0, 1, 1, 1], 2),
    (dict(length=4), [11, END, 21, END], [0, 0, 1, 1], 2),
    (dict(target_length=2), [11, 12, END, 21, END], [0, 0, 0, 1, 1], 3),
    (dict(target_length=2, length=4), [11, END, 21, END], [0, 0, 1, 1], 2),
    (dict(target_length=9, length=4), [11, END, 21, END], [0, 0, 1, 1], 2),
    (dict(cut_left=True, length=5), [12, END, 21, 22, END], [0, 0, 1, 1, 1], 2),
])  # fmt: skip
def test_decoders_read_prompt_and_response_as_one_text(changes, tokens, scored, prefix):
    made = encode(GPT, {"inputs": "11 12", "targets": "21 22"}, kind="text", **changes)
    assert cut(made) == [tokens] and made["scored"].tolist() == scored and made["prefix"].tolist() == [prefix]
    assert made["cut"].tolist() == [2 - tokens.count(11) - tokens.count(12)]
    assert made["lost"].tolist() == [2 - tokens.count(21) - tokens.count(22)]


def test_encoder_decoders_have_the_response_apart():
    made = encode(T5, {"inputs": "11 12", "targets": "21 22"}, {"inputs": "13", "targets": ""}, target_start=(BOS,))
    assert cut(made) == [[11, 12, END], [13, END]]
    assert cut(made, "target_tokens", "target_offsets") == [[21, 22, END], [END]]
    long = {"inputs": " ".join(["11"] * 18), "targets": "21 22 23 24 25 26"}
    made = encode(T5, long)
    assert cut(made) == [[11] * 15 + [END]] and made["target_tokens"].tolist() == [21, 22, 23, 24, END]
    assert encoding.describe(made, T5) == [
        "1 of 1 prompts are cut, by 3.0 tokens on average", "1 of 1 answers are cut at their end, by 2.0 tokens"
    ]  # fmt: skip


def test_the_end_of_a_prompt_stays_where_it_is_gone_on_from():
    made = encode(T5, {"inputs": "11 12 13", "targets": "21"}, length=3, cut_left=True)
    assert cut(made) == [[12, 13, END]] and made["cut"].tolist() == [1]


def test_unknown_responses_leave_the_prompt():
    made = encode(T5, {"inputs": "11", "targets": None}, training=False)
    assert made["target_offsets"].tolist() == [0, 0] and len(made["target_tokens"]) == 0
    made = encode(GPT, {"inputs": "11 12", "targets": None}, kind="text", training=False)
    assert cut(made) == [[11, 12, END]] and made["prefix"].tolist() == [3] and not made["scored"].any()
    turns = (*TURNS[:4], ("assistant", None))
    made = encode(GPT, {"turns": turns}, kind="text", start=(BOS,), separator=(), training=False)
    assert cut(made) == [[BOS, 9, END, 11, 12, END, 21, END, 13, END]] and made["prefix"].tolist() == [6]


TURNS = (
    ("system", "9"),
    ("user", "11 12"),
    ("assistant", "21"),
    ("user", "13"),
    ("assistant", "22 23"),
    ("user", "14"),
)


@pytest.mark.parametrize("length, tokens, scored, dropped", [
    (16, [9, END, 11, 12, END, 21, END, 13, END, 22, 23, END], [0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1], 0),
    (11, [11, 12, END, 21, END, 13, END, 22, 23, END], [0, 0, 0, 1, 1, 0, 0, 1, 1, 1], 1),
    (9, [21, END, 13, END, 22, 23, END], [0, 0, 0, 0, 1, 1, 1], 3),
    (6, [13, END, 22, 23, END], [0, 0, 1, 1, 1], 4),
    (4, [13, END, 22, END], [0, 0, 1, 1], 4),
])  # fmt: skip
def test_every_turn_of_the_assistant_is_learned_and_the_oldest_go_first(length, tokens, scored, dropped):
    made = encode(GPT, {"turns": TURNS}, kind="text", length=length, separator=())
    assert cut(made) == [tokens] and made["scored"].tolist() == scored and made["cut"].tolist() == [dropped]
    assert made["prefix"].tolist() == [scored.index(1)] and made["lost"].tolist() == [int(length == 4)]


@pytest.mark.parametrize("length, tokens, dropped", [
    (16, [9, END, 11, 12, END, 21, END, 13, END], 0), (6, [21, END, 13, END], 3), (2, [13, END], 4)
])  # fmt: skip
def test_encoder_decoders_learn_the_last_turn_of_the_assistant(length, tokens, dropped):
    made = encode(T5, {"turns": TURNS}, length=length)
    assert cut(made) == [tokens] and made["cut"].tolist() == [dropped]
    assert made["target_tokens"].tolist() == [22, 23, END]


def test_a_long_turn_keeps_its_end():
    made = encode(GPT, {"turns": (("user", "11 12 13 14"), ("assistant", "21"))}, kind="text", length=5)
    assert cut(made) == [[13, 14, END, 21, END]] and made["cut"].tolist() == [2]
    made = encode(GPT, {"turns": (("assistant", "21 22 23 24"),)}, kind="text", length=3)
    assert cut(made) == [[21, 22, END]] and made["scored"].tolist() == [0, 1, 1] and made["lost"].tolist() == [2]


@given(st.integers(0, 20), st.integers(0, 20), st.integers(4, 20))
def test_rows_hold_the_beginning_of_the_response_and_never_more_than_fits(prompt, response, length):
    example = {"inputs": "11 " * prompt, "targets": " ".join(str(20 + i) for i in range(response))}
    made = encode(GPT, example, kind="text", length=length)
    tokens, kept = made["tokens"].tolist(), response - int(made["lost"][0])
    assert len(tokens) == min(prompt + response + 2, length)
    assert tokens[made["prefix"][0] :] == [*range(20, 20 + kept), END]
    assert made["scored"].sum() == kept + 1 and made["prefix"][0] >= min(prompt, 1) + 1
