"""How a converted model writes unless it is told otherwise: its generation_config.json."""

import json
import types

import numpy as np
import pytest

from cloze.data import tokenizers
from cloze.errors import ConfigError, DataError
from cloze.training import generation


def stated(said, length=64):
    text = said if isinstance(said, str) else json.dumps(said)
    tokenizer = types.SimpleNamespace(carried={"generation_config.json": text})
    layout = types.SimpleNamespace(length=length, decoder_start=0, target_start=(), architecture="decoder")
    return generation.stated(types.SimpleNamespace(tokenizer=tokenizer, layout=layout, two_streams=False))


def test_nothing_is_said_without_the_file():
    writer = types.SimpleNamespace(tokenizer=types.SimpleNamespace(carried={}))
    assert generation.stated(writer) == {}


@pytest.mark.parametrize(
    "said, expected",
    [
        ({"top_p": 0.5, "temperature": 0.7}, {}),  # of drawing, which it does not ask for
        ({"do_sample": True}, {"temperature": 1.0, "top_k": 50}),
        ({"do_sample": True, "temperature": 0.7, "top_k": 0}, {"temperature": 0.7}),
        ({"num_beams": 1, "length_penalty": 2.0}, {}),
        (
            {"num_beams": 4, "length_penalty": 2.0, "early_stopping": True, "no_repeat_ngram_size": 3},
            {"beams": 4, "length_penalty": 2.0, "early_stopping": "full", "no_repeat_ngram_size": 3},
        ),
        ({"num_beams": 2, "early_stopping": "never"}, {"beams": 2, "early_stopping": "exact"}),
        ({"max_new_tokens": 20, "min_new_tokens": 3}, {"max_tokens": 20, "min_tokens": 3}),
        ({"max_new_tokens": 4000}, {"max_tokens": 32}),  # half a row of the run
        ({"suppress_tokens": [5], "bad_words_ids": [[6], [7, 8]]}, {"suppressed": (5, 6)}),
        ({"repetition_penalty": 1.3, "of_somebody_else": [1]}, {"repetition_penalty": 1.3}),
    ],
)
def test_what_is_said_becomes_options(said, expected):
    assert stated(said) == expected


@pytest.mark.parametrize("said", ["{", '{"num_beams": "many"}', '{"top_k": -1}', "[]"])
def test_damage_is_named(said):
    with pytest.raises(DataError, match="generation_config.json"):
        stated(said)


def test_options_of_the_command_come_first():
    drawing, searching = {"temperature": 0.7, "top_k": 50}, {"beams": 4, "length_penalty": 2.0}
    assert generation.decoding_options({}, drawing, 9).top_k == 50
    assert generation.decoding_options({"beams": 3}, drawing, 9).temperature is None
    assert not generation.decoding_options({"temperature": 0.0}, drawing, 9).draws
    assert generation.decoding_options({"top_p": 0.5}, searching, 9).beams == 1
    with pytest.raises(ConfigError, match="--forced_eos=9 is no id of the vocabulary of 9"):
        generation.decoding_options({"forced_eos": 9}, {}, 9)


def test_spans_stand_in_the_places_of_the_sentinels_that_a_prompt_has():
    tokenizer = tokenizers.train(["the file is a list of rows"] * 9, "unigram", 30, False, 2)
    writer = types.SimpleNamespace(tokenizer=tokenizer, two_streams=True)
    first, second = tokenizer.tables.sentinels.tolist()
    ids = np.array([first, *tokenizer.encode("the file"), second, *tokenizer.encode("a list")])
    answer = types.SimpleNamespace(ids=ids, text=tokenizer.decode(ids).strip(), ended=True, score=None)
    holes = [tokenizer.piece(i) for i in (first, second)]
    found = generation.described(writer, f"is {holes[1]} of {holes[0]}", answer)
    assert found["text"] == "is a list of the file" and found["spans"] == ["the file", "a list"]
    plain = generation.described(writer, "is of", answer)  # what was written is no part of the prompt
    assert plain["text"] == answer.text and "spans" not in plain
