"""What a configuration leaves to the model that it begins with, and to its task."""

import json
import shutil

import pytest

from cloze import models
from cloze.configs import base
from cloze.errors import ConfigError
from cloze.training import resolve
from cloze.training.methods import model_config
from tests.interop import fakes
from tests.interop.test_tokenizers import put
from tests.training import tiny_run, tiny_task

PIECES = "[PAD] [UNK] [CLS] [SEP] [MASK]".split() + [w.lower() for w in tiny_run.WORDS]


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    """The directory of a BERT that was pretrained with adapters in it, as far as its configuration tells."""
    config = tiny_run.config("bert", root, model__activation="relu", model__heads_out=("mlm",), model__num_labels=7)
    tokenizer = tiny_run.build(config).run.tokenizer
    return save(config, tokenizer, tmp_path_factory.mktemp("run"))


def save(config, tokenizer, directory):
    (directory / "config.json").write_text(json.dumps(base.to_dict(config)))
    tokenizer.save(directory / "tokenizer")
    return directory


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory):
    """A directory of Hugging Face's with a BERT of 97 rows."""
    directory = tmp_path_factory.mktemp("hugging_face")
    fakes.write(directory, "bert", "BertForPreTraining")
    put(directory, vocab__txt="\n".join(PIECES) + "\n")
    return directory


def inheriting(directory, **changes):
    config = base.get_base()
    config.objective.name = "supervised"
    config.init.update(checkpoint=str(directory), inherit=True)
    for key, value in changes.items():
        section, field = key.split("__")
        config[section][field] = value
    return config


def test_shape_and_tokenizer_are_those_of_the_run(run):
    config = inheriting(run)
    before = base.to_dict(config)
    found = resolve.resolve(config)
    assert base.to_dict(config) == before  # a new one is made
    theirs = base.load(run / "config.json").model
    for field in ("family", "layers", "width", "vocab_size", "activation", "dropout"):
        assert found.model[field] == theirs[field], field
    assert found.model.heads_out is None and found.model.num_labels is None  # what is scored is one's own
    assert found.tokenizer.path == str(run / "tokenizer") and found.tokenizer.kind == "wordpiece"
    assert base.to_dict(resolve.resolve(found)) == base.to_dict(found)


def test_what_the_configuration_sets_wins(run):
    found = resolve.resolve(inheriting(run, model__dropout=0.3, model__dtype="bfloat16"))
    assert (found.model.dropout, found.model.dtype, found.model.width) == (0.3, "bfloat16", 32)


def test_nothing_is_inherited_unasked(run):
    config = inheriting(run)
    config.init.inherit = False
    assert resolve.resolve(config).model.width is None


@pytest.mark.parametrize("method, field", [
    ("adapters", "adapter_size"), ("prefix", "prefix_length"), ("p_tuning", "prompt_length"),
])  # fmt: skip
def test_parts_that_a_method_has_added_stay(method, field, root, run, tmp_path):
    """Otherwise a second finetuning would lose what the first has learned."""
    config = tiny_task.config("bert", root, method)
    (tmp_path / "config.json").write_text(json.dumps(base.to_dict(config)))
    (tmp_path / "tokenizer").symlink_to(run / "tokenizer")
    found = resolve.resolve(inheriting(tmp_path))
    assert found.model[field] == config.finetune[field] > 0
    assert getattr(model_config(found), field) == config.finetune[field]


def test_a_hugging_face_directory_gives_shape_and_tokenizer(hugging_face):
    found = resolve.resolve(inheriting(hugging_face))
    made = models.resolve(found.model)
    wanted = dict(family="bert", layers=2, width=32, heads=4, ffn=128, vocab_size=97, max_positions=24, token_types=2)
    assert {field: getattr(made, field) for field in wanted} == wanted
    assert (found.tokenizer.kind, found.tokenizer.path) == ("wordpiece", str(hugging_face))
    tokenizer = resolve.open_tokenizer(found)
    assert tokenizer.encode("the open file").tolist() == [PIECES.index(word) for word in ("the", "open", "file")]
    assert found.tokenizer.vocab_size == tokenizer.vocab_size == len(PIECES)
    assert base.to_dict(resolve.resolve(found)) == base.to_dict(found)


def test_what_was_resolved_survives_json(run, hugging_face, tmp_path):
    for directory in (run, hugging_face):
        found = resolve.resolve(inheriting(directory))
        (tmp_path / "config.json").write_text(json.dumps(base.to_dict(found)))
        again = base.load(tmp_path / "config.json")
        assert base.to_dict(again) == base.to_dict(found)
        assert models.resolve(again.model) == models.resolve(found.model)


@pytest.mark.parametrize("rows, wanted", [(None, None), (1000, 1000)])
def test_markers_make_room_behind_the_tokenizer(rows, wanted, root, tmp_path):
    """A larger vocabulary than is needed stays, and a table that has room already."""
    gpt = tiny_run.config("gpt2", root)
    tokenizer = tiny_run.build(gpt).run.tokenizer
    gpt.model.vocab_size = tokenizer.vocab_size
    save(gpt, tokenizer, tmp_path)
    config = inheriting(tmp_path, task__markers=True)
    if rows:
        config.model.vocab_size = rows
    assert resolve.resolve(config).model.vocab_size == (wanted or tokenizer.vocab_size + 3)
    gpt.model.vocab_size = tokenizer.vocab_size + 7
    (tmp_path / "config.json").write_text(json.dumps(base.to_dict(gpt)))
    assert resolve.resolve(inheriting(tmp_path, task__markers=True)).model.vocab_size == tokenizer.vocab_size + 7


@pytest.mark.parametrize("directory", ["/no/run", "~/no/run"])
def test_nothing_to_inherit_from_is_one_error(directory):
    with pytest.raises(ConfigError, match="no/run holds no run: config.json is missing"):
        resolve.resolve(inheriting(directory))


def test_a_run_knows_what_it_inherited_when_its_base_has_gone(run, tmp_path):
    base_run, kept = tmp_path / "base", tmp_path / "config.json"
    shutil.copytree(run, base_run)
    config = inheriting(base_run)
    begun = resolve.resolve(config, kept)
    assert not begun.init.inherit and begun == resolve.resolve(begun)
    kept.write_text(json.dumps(base.to_dict(begun)))
    shutil.rmtree(base_run)
    assert base.to_dict(resolve.resolve(config, kept)) == base.to_dict(begun)
    with pytest.raises(ConfigError, match="holds no run"):
        resolve.resolve(config, tmp_path / "none.json")


def task(kind, folder, **changes):
    config = base.get_base()
    config.objective.name = "supervised"
    config.task.update(name=f"jsonl:{kind}", files=str(folder))
    config.model.update(changes)
    return config


def test_labels_are_counted(tmp_path):
    lines = {
        "class": [{"text": "a", "label": x} for x in ("one", "two", "three", "one")],
        "tag": [{"words": ["a", "b"], "tags": ["O", "B-X"]}],
        "regression": [{"text": "a", "label": 0.5}],
    }
    wanted = {"class": 3, "tag": 2, "regression": 1}
    for kind, examples in lines.items():
        (tmp_path / "train.jsonl").write_text("".join(json.dumps(example) + "\n" for example in examples))
        found = resolve.resolve(task(kind, tmp_path))
        assert (found.task.kind, found.model.num_labels) == (kind, wanted[kind])
        assert base.to_dict(resolve.resolve(found)) == base.to_dict(found)
        if kind != "regression":
            with pytest.raises(ConfigError, match=f"has {wanted[kind]} labels, model.num_labels=9: leave"):
                resolve.resolve(task(kind, tmp_path, num_labels=9))


def three_labels(folder, **init):
    """A task of the labels a, b and c for a run that begins as `init` says."""
    lines = [{"text": "x", "label": label} for label in "abc"]
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = task("class", folder)
    config.init.update(**init)
    return config


def labels_of(config, kept=None):
    """(task.labels when it is resolved, whether that came with a warning)."""
    said = []
    return resolve.resolve(config, kept, said.append).task.labels, "Warning: " in str(said)


@pytest.mark.parametrize(
    "known, heads, found",
    [
        (("c", "a", "b"), ("class",), (("c", "a", "b"), False)),
        (("C", "A", "B"), ("class",), (("c", "a", "b"), False)),
        (("x", "y", "z"), ("class",), (("a", "b", "c"), True)),
        ((), ("class",), (("a", "b", "c"), True)),  # of peft, or of id2label with LABEL_0 and so on
        ((), (), (("a", "b", "c"), False)),  # the head is new
    ],
)
def test_a_head_that_is_kept_keeps_the_order_of_its_labels(known, heads, found, tmp_path):
    kept = base.get_base()
    kept.model.heads_out = heads
    kept.task.labels = known
    (tmp_path / "config.json").write_text(json.dumps(base.to_dict(kept)))
    config = three_labels(tmp_path)
    assert labels_of(config, tmp_path / "config.json") == found
    begun = three_labels(tmp_path, checkpoint=str(tmp_path))
    assert labels_of(begun) == found
    begun.init.rules = ((r"classifier/.*", None), *begun.init.rules)
    assert labels_of(begun) == (("a", "b", "c"), False)
    config.task.labels = found[0]
    assert labels_of(config) == (found[0], False)  # doing it twice is harmless


def test_the_order_of_a_hugging_face_head_is_that_of_id2label(tmp_path):
    keys = {"id2label": {"0": "B", "1": "C", "2": "A"}}
    fakes.write(tmp_path, "bert", "BertForSequenceClassification", num_labels=3, keys=keys)
    assert labels_of(three_labels(tmp_path, checkpoint=str(tmp_path))) == (("b", "c", "a"), False)


def test_responses_read_text():
    config = task("class", "/nowhere")
    config.objective.name = "responses"
    found = resolve.resolve(config)  # the labels are words: nothing is counted, and no file is read
    assert found.task.kind == "text" and found.model.num_labels is None


def test_vectors_are_pooled_as_they_were_learned(run, hugging_face, tmp_path):
    """A run or a directory of sentence-transformers that has learned vectors says how; else it is the mean."""

    def pooling(directory, **model):
        config, lines = inheriting(directory), []
        config.objective.name = "contrastive"
        config.model.update(model)
        found = resolve.resolve(config, report=lines.append)
        assert resolve.resolve(found).model.pooling == found.model.pooling
        return found.model.pooling, lines

    assert pooling(run) == pooling(hugging_face) == ("mean", [])
    theirs = base.load(run / "config.json")
    theirs.objective.name, theirs.model.pooling = "contrastive", "first"
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text(json.dumps(base.to_dict(theirs)))
    assert pooling(tmp_path / "run")[0] == "first" and pooling(tmp_path / "run", pooling="max")[0] == "max"
    library = shutil.copytree(hugging_face, tmp_path / "library")
    modules = [{"type": f"sentence_transformers.models.{name}", "path": name} for name in ("Transformer", "Pooling")]
    put(library, modules__json=json.dumps(modules))
    (library / "Pooling").mkdir()
    for told, expected in (
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "first"),
        ({"pooling_mode": "max"}, "max"),
        ({"pooling_mode_weightedmean_tokens": True}, None),
    ):
        (library / "Pooling" / "config.json").write_text(json.dumps(told))
        found, lines = pooling(library)
        assert found == (expected or "mean") and ("model.pooling" in str(lines)) == (expected is None)
    put(library, modules__json=json.dumps([*modules, {"type": "sentence_transformers.models.Dense", "path": "2"}]))
    assert "Dense" in str(pooling(library)[1])


def test_an_unknown_task_is_one_error():
    config = base.get_base()
    config.task.name = "packages"
    with pytest.raises(ConfigError, match="unknown task.name='packages'; did you mean 'package'"):
        resolve.resolve(config)
