"""Chat templates against transformers' apply_chat_template."""

import json

import pytest
import transformers
from tokenizers import Tokenizer

from cloze.data import tokenizers as tok
from cloze.data.chat import ChatTemplate
from cloze.errors import ConfigError
from cloze.interop.tokenizers import load_hf
from tests.parity.test_tokenizers import TEXTS

SPECIALS = ["<bos>", "<eos>", "<|im_start|>", "<|im_end|>"]
TURNS = [
    {"role": "user", "content": "  the array <b> is 'new' & é\n"},
    {"role": "assistant", "content": "yes"},
    {"role": "user", "content": "return"},
]
TEMPLATES = {
    "chatml": (
        "{%- for m in messages %}\n  {{- '<|im_start|>' + m.role + '\\n' + m['content'] + '<|im_end|>\\n' }}\n"
        "{%- endfor %}\n{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "blocks": (
        "{{ bos_token }}{% set ns = namespace(n=0) %}\n  {% for m in messages %}\n    {% if loop.index > 9 %}"
        "{% break %}{% endif %}{% set ns.n = ns.n + 1 %}\n{{ ns.n }} {{ m.content | trim }}\n"
        "{% generation %}{{ m | tojson }}{% endgeneration %}{{ eos_token }}\n    {% endfor %}\n"
    ),
    "refuses": "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages }}",
}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """(theirs, ours with a template by name)."""
    directory = tmp_path_factory.mktemp("chat")
    content = tok.train([*TEXTS, "the array is new, return"], "byte_bpe", 600, True, 0).model.content
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_buffer(content),
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=SPECIALS[2:],
    )

    def ours(template):
        theirs.chat_template = template
        theirs.save_pretrained(directory)
        (directory / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
        return ChatTemplate(load_hf(directory))

    return theirs, ours


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("system", [False, True])
def test_turns_become_the_text_and_the_ids_of_transformers(name, system, tokenizers):
    theirs, made = tokenizers
    ours = made(TEMPLATES[name])
    turns = [{"role": "system", "content": "be brief"}] * system + TURNS
    if name == "refuses" and system:
        with pytest.raises(ConfigError, match="refuses these messages: no system"):
            ours.render(turns)
        return
    text = theirs.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert ours.render(turns) == text
    ids = theirs.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert ours.encode(turns).tolist() == ids


def test_a_turn_cannot_end_itself(tokenizers):
    ours = tokenizers[1](TEMPLATES["chatml"])
    with pytest.raises(ConfigError, match="spells '<.im_end.>', a special token"):
        ours.encode([{"role": "user", "content": "a<|im_end|>b"}])
