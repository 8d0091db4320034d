"""Weights of attention are those of the model, and their page holds them; tests/parity compares with transformers."""

import dataclasses
import json
import re
import types

import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta

from cloze.analysis import ANALYSES, attention, attention_page
from cloze.analysis.attention import weights_of
from cloze.analysis.base import read
from cloze.errors import ConfigError

TEXT = "the list reads a large file"


def quiet(line):
    pass


def test_weights_are_the_softmax_of_products(encoder):
    config, batch = encoder.model.config, read(encoder, TEXT).batch
    found = weights_of(config, encoder.params, batch)
    T = batch["tokens"].shape[1]
    assert found.shape == (2, 1, 2, T, T)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
    x = np.asarray(encoder.model.apply({"params": encoder.params}, batch, collect=True).hidden_states)
    layers = meta.unbox(encoder.params)["encoder"]["layers"]["attention"]
    for layer in range(2):
        q, k = (
            (x[layer, 0] @ layers[name]["kernel"][layer] + layers[name]["bias"][layer]).reshape(T, 2, 8)
            for name in ("query", "key")
        )
        for head in range(2):
            scores = np.exp(q[:, head] @ k[:, head].T / np.sqrt(8))
            np.testing.assert_allclose(found[layer, 0, head], scores / scores.sum(-1, keepdims=True), atol=1e-5)


def test_a_decoder_looks_back_alone(decoder):
    found = weights_of(decoder.model.config, decoder.params, read(decoder, TEXT).batch)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
    assert np.triu(found, 1).max() == 0 and found[..., 1, 0].min() > 0


def test_nothing_is_kept_unasked(encoder):
    before = encoder.model.apply({"params": encoder.params}, read(encoder, TEXT).batch).hidden
    weights_of(encoder.model.config, encoder.params, read(encoder, TEXT).batch)
    after = encoder.model.apply({"params": encoder.params}, read(encoder, TEXT).batch).hidden
    np.testing.assert_array_equal(before, after)


def test_the_page_holds_the_numbers_and_no_markup_of_the_text(encoder, tmp_path):
    result = ANALYSES["attention"](text=TEXT).run(encoder, quiet)
    assert result.numbers["tokens"][1] == "the" and len(result.lines) == 2
    weights = np.array(result.numbers["weights"])
    result.draw(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    ((tokens, shown),) = re.findall(r"const tokens = (\[.*\]), weights = (\[.*\]), SCALE", page)
    assert json.loads(tokens) == result.numbers["tokens"]
    np.testing.assert_allclose(np.array(json.loads(shown)) / 1000, weights, atol=6e-4)
    assert "prefers-color-scheme: dark" in page and not re.search(r"(src|href)=|https?:|@import", page)
    attention_page.write(tmp_path / "page.html", "a </script><b>", ["</script>"], np.ones((1, 1, 1, 1)))
    assert (tmp_path / "page.html").read_text().count("</script>") == 1


def test_what_has_no_attention_of_one_stack_is_refused(encoder):
    model = types.SimpleNamespace(config=types.SimpleNamespace(architecture="recurrent"))
    recurrent = dataclasses.replace(encoder, model=model)
    with pytest.raises(ConfigError, match="--what=attention looks at .*encoder or decoder.*recurrent: choose another"):
        ANALYSES["attention"]().run(recurrent, quiet)
    with pytest.raises(ConfigError, match="leaves nothing of the text"):
        ANALYSES["attention"](text=" ").run(encoder, quiet)


def test_a_text_is_read_as_the_model_was_trained(encoder, decoder):
    text, tables = read(encoder, TEXT), encoder.tokenizer.tables
    assert (text.ids[0], text.ids[-1]) == (tables.cls, tables.sep) and text.spans[0].tolist() == [0, 0]
    assert [TEXT[a:b] for a, b in text.spans[1:3]] == ["the", "list"]
    assert read(decoder, TEXT).ids.tolist() == decoder.tokenizer.encode(TEXT).tolist()
    assert len(read(encoder, TEXT * 20).ids) == encoder.config.data.sequence_length
    assert isinstance(text.batch["tokens"], jnp.ndarray)


def test_a_text_of_one_token_looks_at_itself(decoder, monkeypatch):
    monkeypatch.setattr(attention, "weights_of", lambda *given: np.ones((2, 1, 2, 1, 1), np.float32))
    said = []
    found = ANALYSES["attention"](text="the").run(decoder, said.append)
    assert said[0].startswith("1 token, ") and found.numbers["tokens"] == ["the"]
    assert "-0.00" not in "".join(found.lines) and "entropy 0.00" in found.lines[0]
