"""What a model reads of a dialogue, and what is shown of its answers. Models have random parameters."""

import dataclasses

import numpy as np
import pytest

from cloze.data import tokenizers
from cloze.data.chat import ChatTemplate
from cloze.decoding import DecodingOptions
from cloze.errors import ConfigError
from cloze.tasks.predict import LanguageModel
from cloze.training import evaluation
from cloze.training.generation import Dialogue
from tests.training.tiny_run import WORDS
from tests.training.untrained import trained

TEMPLATE = (
    "{% for m in messages %}{{ '(' + m.role[0] + ') ' + m.content + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '(a) ' }}{% endif %}"
)
OPTIONS = DecodingOptions(max_tokens=12)


@pytest.fixture(scope="module")
def model():
    """(A decoder of rows of 64 tokens, whose tokenizer came with a template and a second token that ends turns; what
    the decoder answers to "the file" before that one)."""
    tokenizer = tokenizers.train([" ".join(WORDS) + " ()"] * 3, "byte_bpe", 400, False, 0)
    run = trained(tokenizer, ("lm",), family="gpt2", objective="causal_lm", max_positions=64)
    run.config.data.sequence_length = 64
    made = evaluation.writer(run, report=lambda line: None)
    with_template(made)
    ((answer,),) = made.answers([ChatTemplate(tokenizer).encode([says("the file")])], OPTIONS)
    assert len(answer.ids) == OPTIONS.max_tokens
    assert answer.ids[6] not in answer.ids[:6]
    tokenizer.ends = (int(answer.ids[6]),)
    return made, tokenizer.decode(answer.ids[:6]).strip()


@pytest.fixture
def writer(model):
    return model[0]


def with_template(writer):
    writer.tokenizer.carried["chat_template.jinja"] = TEMPLATE


def says(text, role="user"):
    return {"role": role, "content": text}


def written(writer, turns):
    """What is written behind turns, by itself."""
    ((answer,),) = writer.answers([ChatTemplate(writer.tokenizer).encode(turns)], OPTIONS)
    return answer.text


@pytest.fixture
def read(writer, monkeypatch):
    """The ids of all prompts that are read from here on."""
    found, answers = [], LanguageModel.answers

    def watched(self, prompts, *arguments):
        found.extend(prompts)
        return answers(self, prompts, *arguments)

    monkeypatch.setattr(LanguageModel, "answers", watched)
    return found


def test_a_turn_is_answered_with_all_before_it_up_to_the_end_of_the_turn(model):
    writer, until_its_end = model
    dialogue, shown = Dialogue(writer, OPTIONS, system="one list"), []
    system, first, second = says("one list", "system"), says("the file"), says("a row")
    one = dialogue.ask("the file", shown.append)
    assert "".join(shown) == one == written(writer, [system, first]) and len(shown) > 1
    two = dialogue.ask("a row")
    assert two == written(writer, [system, first, says(one, "assistant"), second]) != written(writer, [system, second])
    assert Dialogue(writer, OPTIONS).ask("the file") == until_its_end


def test_the_oldest_turns_go_and_what_is_refused_leaves_no_trace(writer, read):
    dialogue, turns = Dialogue(writer, OPTIONS), []
    for _ in range(4):
        turns += [says("the file is open"), says(dialogue.ask("the file is open"), "assistant")]
    template, room = ChatTemplate(writer.tokenizer), writer.room(OPTIONS.max_tokens)
    assert len(template.encode(turns[:-1])) > room >= len(read[-1])
    left = [n for n in range(0, 8, 2) if np.array_equal(read[-1], template.encode(turns[n:-1]))]
    assert left and left[0] > 0 and len(template.encode(turns[left[0] - 2 : -1])) > room
    for text, words in (("the file " * 40, "shorten it, or lower --max_tokens"), ("a<|endoftext|>", "spells '<")):
        with pytest.raises(ConfigError, match=words):
            dialogue.ask(text)
    dialogue.ask("a row")
    asked = [*turns, says("a row")]
    assert any(np.array_equal(read[-1], template.encode(asked[n:])) for n in range(2, 8, 2))


def test_a_run_that_learned_turns_reads_them_as_it_learned_them(writer, read):
    learned = dataclasses.replace(writer, layout=dataclasses.replace(writer.layout, separator=writer.layout.end))
    dialogue = Dialogue(learned, OPTIONS, responds=True)
    first = dialogue.ask("the file")
    dialogue.ask("a row")
    encode, (end,) = writer.tokenizer.encode, writer.layout.end
    expected = [*encode("the file"), end, *encode(first), end, *encode("a row"), end]
    assert read[1].tolist() == expected
    writer.tokenizer.carried.clear()
    with pytest.raises(ConfigError, match="has no chat template"):
        Dialogue(writer, OPTIONS)
    with_template(writer)
