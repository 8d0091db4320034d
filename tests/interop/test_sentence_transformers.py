"""What a directory of sentence-transformers holds; tests/parity has that the library gives the same vectors."""

import dataclasses
import json

import pytest
import tokenizers as library

from cloze import objectives
from cloze.data import tokenizers
from cloze.errors import ConfigError, DataError
from cloze.interop import load_hf, sentence_transformers
from cloze.training import hugging_face
from tests.training.tiny_run import WORDS
from tests.training.untrained import trained


def vectors(family, pooling, **changes):
    """(a run that was never trained, ModelConfig of its vectors, Layout of their texts)."""
    kind = "wordpiece" if family == "bert" else "byte_bpe"
    run = trained(tokenizers.train([" ".join(WORDS)] * 3, kind, 400, True, 0), (), family=family, **changes)
    run.config.objective.name, run.config.task.kind = "contrastive", "embedding"
    made = dataclasses.replace(run.model.config, heads_out=("embedding",), pooling=pooling)
    return run, made, objectives.build(run.config, run.tokenizer.tables, made).rows.layout


@pytest.mark.parametrize("family, pooling", [("bert", "mean"), ("gpt2", "last")])
def test_texts_stand_there_as_they_stood_here(family, pooling, tmp_path):
    run, made, layout = vectors(family, pooling)
    target = tmp_path / "own"
    sentence_transformers.save(target, made, run.params, run.tokenizer, layout, report=lambda line: None)
    found = library.Tokenizer.from_file(str(target / "tokenizer.json")).encode("the list").ids
    assert found == [*layout.start, *run.tokenizer.encode("the list"), *layout.end] and len(found) > 2
    settings = json.loads((target / "tokenizer_config.json").read_text())
    assert settings["pad_token"] and settings["model_max_length"] == layout.length
    told = json.loads((target / "1_Pooling" / "config.json").read_text())
    assert [key for key, value in told.items() if value is True] == [
        {"mean": "pooling_mode_mean_tokens", "last": "pooling_mode_lasttoken"}[pooling], "include_prompt"
    ]  # fmt: skip
    assert sentence_transformers.pooling_of(target) == (pooling, ())
    assert load_hf(target)[0].config.width == made.width  # and a directory of Hugging Face
    with pytest.raises(ConfigError, match="there already and not empty"):
        sentence_transformers.save(target, made, run.params, run.tokenizer, layout)


def test_what_cannot_be_written_or_read_is_one_error(tmp_path):
    run, made, layout = vectors("bert", "mean")
    with pytest.raises(ConfigError, match="model.family=coco_lm have no class.*bert or gpt2"):
        wrong = dataclasses.replace(made, family="coco_lm")
        sentence_transformers.save(tmp_path / "own", wrong, run.params, run.tokenizer, layout)
    assert not list(tmp_path.iterdir())
    (tmp_path / "modules.json").write_text("{}")
    with pytest.raises(DataError, match="holds no list of modules"):
        sentence_transformers.pooling_of(tmp_path)


def test_a_run_without_vectors_is_not_written(tmp_path, monkeypatch):
    config = vectors("bert", "mean")[0].config
    config.objective.name = "masked_lm"
    monkeypatch.setattr(hugging_face.runs, "load_config", lambda workdir: config)
    with pytest.raises(ConfigError, match="has learned no vectors.*configs/finetune/embed.py"):
        hugging_face.to_sentence_transformers(tmp_path, tmp_path / "own")
