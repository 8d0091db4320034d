"""Every experiment loads, fits its devices and its tokenizer, and is what its documentation says."""

import dataclasses
import functools
import importlib
import json
import pathlib
import tempfile
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from jax.sharding import AbstractMesh, AxisType
from ml_collections import config_flags

from cloze import models, objectives
from cloze.configs import base, composites, decoders, encoder_decoders
from cloze.configs.catalog import NEEDS_A_RUN, SIZES, STEMS, load
from cloze.data import tokenizers
from cloze.data.durations import to_steps
from cloze.errors import ConfigError
from cloze.models import names
from cloze.parallel import mesh as meshes
from cloze.tasks import embedded
from cloze.training import initial, resolve, trainable
from cloze.training.optimizers.base import NO_DECAY
from cloze.training.schedules import make_schedule
from cloze.training.updates import from_config, make_optimizer

ROOT = pathlib.Path(__file__).parents[2]
SIZED = [(stem, size) for stem, sizes in SIZES.items() for size in sizes]
ARGUMENTS = {stem: tuple(f"size={size}" for size in sizes) for stem, sizes in SIZES.items()}
ARGUMENTS |= {
    "bert_base": ("length=512", "masking=spans", "pairs=sentence_order", "pairs=none,static=10,masking=entities"),
    "t5_salient_spans": tuple(f"size={size}" for size in list(encoder_decoders.SALIENT_SIZES)[1:]),
    "t5_study": tuple(
        f"architecture={architecture},objective={objective}"
        for architecture in encoder_decoders.STUDY
        for objective in ("denoising", "lm")
    )
    + tuple(f"noise={noise}" for noise in encoder_decoders.STUDY_NOISES[1:]),
    "ul2": ("architecture=decoder",),
}
ARGUMENTS["bart"] += tuple(f"noise={noise}" for noise in list(encoder_decoders.BART_NOISES)[1:])
ARGUMENTS["bert"] += ("size=large,length=512",)
ARGUMENTS["spanbert"] += ("boundary=false",)
ARGUMENTS["electra"] += (*(f"task={task}" for task in composites.ELECTRA_TASKS[1:]), "tie=all", "tie=none")
ARGUMENTS["deberta_v3"] += ("tie=embeddings",)
ARGUMENTS["gpt3"] += ("sparse", "size=175b,sparse")
FULL = [(stem, arguments) for stem in STEMS for arguments in ("", *ARGUMENTS.get(stem, ()))]
# Of a family's sizes the default and the last stand for all, where they differ in numbers only.
LAST = {(stem, [a for a in ARGUMENTS[stem] if "size=" in a][-1]) for stem in SIZES}
KINDS = [pair for pair in FULL if "size=" not in pair[1] or pair in LAST]
TINY = [(stem, f"tiny,{arguments}".rstrip(",")) for stem, arguments in KINDS]


def override(config, **changes):
    """What flags would do: dotted keys with __ for dots."""
    for key, value in changes.items():
        section, field = key.split("__")
        config[section][field] = value
    return config


def tables(config):
    """What objectives need of a tokenizer that learned as many pieces as it was asked for."""
    size, sentinels = config.tokenizer.vocab_size, config.tokenizer.sentinels
    special = np.zeros(size, bool)
    special[:5] = True
    return types.SimpleNamespace(
        vocab_size=size, pad=0, unk=1, bos=None, eos=1, cls=2, sep=3, mask=4, special=special,
        sentinels=np.arange(size - 1, size - 1 - sentinels, -1), starts_word=~special,
    )  # fmt: skip


def steps(config, option):
    section, field = option.split(".")
    return to_steps(
        config[section][field], name=option, batch_size=config.train.batch_size,
        tokens_per_row=config.data.sequence_length, steps_per_epoch=30_000,  # BooksCorpus in batches of GPT
    )  # fmt: skip


def schedule(config):
    o = config.optimizer
    decay = steps(config, "train.steps" if o.decay_steps is None else "optimizer.decay_steps")
    warmup = steps(config, "optimizer.warmup_steps")
    return make_schedule(
        o.schedule, o.learning_rate, warmup_steps=warmup, decay_steps=decay, final_fraction=o.final_fraction
    )


@functools.cache
def teacher_run(name):
    """A directory with the configuration of a default run, "bert_base-tiny", as far as a student looks at it."""
    stem, _, arguments = name.partition("-")
    directory = tempfile.TemporaryDirectory()
    (pathlib.Path(directory.name) / "config.json").write_text(json.dumps(base.to_dict(load(stem, arguments))))
    return directory


def model_of(config):
    """The model as a run builds it: with the heads that the objective scores."""
    config = resolve.resolve(config)
    model_config = models.resolve(config.model)
    if config.objective.get("teacher", "").startswith("runs/"):
        config.objective.teacher = teacher_run(config.objective.teacher.removeprefix("runs/")).name
    objective = objectives.build(config, tables(config), model_config)
    return objective.model(dataclasses.replace(model_config, heads_out=tuple(objective.outputs)))


_PARAMETERS = {}


def parameters(model):
    """`models.parameters`, once for each model: many experiments share one."""
    if repr(model) not in _PARAMETERS:
        _PARAMETERS[repr(model)] = models.parameters(model)
    return _PARAMETERS[repr(model)]


def counted(config):
    model = model_of(config)
    made = parameters(model)
    return trainable.count(made.shapes, made.axis_names, model.config)


@pytest.fixture(autouse=True, scope="module")
def packages():
    """Ten names of packages, for what the documentation of all that is installed would have to be read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded.Package, "labels", lambda self: tuple("abcdefghij"))
        yield


@pytest.mark.parametrize("stem, arguments", FULL + TINY)
def test_fits_its_devices(stem, arguments):
    config = load(stem, arguments)
    assert config.tokenizer.kind in tokenizers.KINDS
    assert config.tokenizer.vocab_size <= models.resolve(config.model).vocab_size
    model = model_of(config)
    shape = meshes.mesh_shape(config.mesh, config.devices)
    meshes.check_sizes(config, model.config, shape)
    mesh = AbstractMesh(shape, meshes.MESH_AXES, axis_types=(AxisType.Auto,) * len(shape))

    made = parameters(model)
    decay = names.match(config.optimizer.decay_rules, made.shapes, "optimizer.decay_rules", optional=(NO_DECAY,))
    optimizer = make_optimizer(from_config(config.optimizer), schedule(config), made.shapes, decay)
    params = names.unflatten({name: jax.ShapeDtypeStruct(s, jnp.float32) for name, s in made.shapes.items()})
    for tree in (params, jax.eval_shape(optimizer.init, params)):
        places = meshes.placement(tree, made.axis_names, made.shapes, mesh)
        for leaf, place in zip(jax.tree.leaves(tree), jax.tree.leaves(places), strict=True):
            place.shard_shape(leaf.shape)  # raises where a dimension does not divide


@pytest.mark.parametrize("stem, arguments", KINDS)
def test_any_full_size_model_can_be_tried_on_one_device(stem, arguments):
    config = override(load(stem, arguments), train__batch_size=8, data__sequence_length=128, train__steps=2)
    if "--config.mesh.tensor=1" in importlib.import_module(f"cloze.configs.{stem}").__doc__:
        config.mesh.tensor = 1
    meshes.check_sizes(config, model_of(config).config, meshes.mesh_shape(config.mesh, 1))
    assert 0 < schedule(config)(0) <= config.optimizer.learning_rate
    assert steps(config, "train.steps") == 2


@pytest.mark.parametrize("stem, arguments", FULL + TINY)
def test_is_the_same_after_json(stem, arguments, tmp_path):
    config = load(stem, arguments)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(base.to_dict(config)))
    again = base.load(file)
    assert base.to_dict(again) == base.to_dict(config)
    assert again.optimizer.decay_rules == config.optimizer.decay_rules
    assert again.name == stem


@pytest.mark.parametrize("stem, arguments", TINY)
def test_tiny_is_the_same_experiment_on_one_device(stem, arguments):
    tiny, full = load(stem, arguments), load(stem, arguments.removeprefix("tiny").lstrip(","))
    for option in ("model.family", "model.preset", "tokenizer.kind", "optimizer.name", "optimizer.schedule"):
        section, field = option.split(".")
        assert tiny[section][field] == full[section][field], option
    for objective in (tiny.objective, full.objective):
        if stem == "skip_gram":
            objective.subsample = 0.0  # a small corpus needs a larger one
        if stem == "distilbert":
            objective.teacher = "runs/bert_base-tiny"  # of the student's size
    assert tiny.objective == full.objective
    assert (tiny.devices, tiny.model.dtype, tiny.model.remat, tiny.train.microbatches) == (1, "float32", "none", 1)
    assert 1e6 < counted(tiny) < 1e7
    model_config = models.resolve(tiny.model)
    dropouts = {f.name for f in dataclasses.fields(model_config) if "dropout" in f.name}
    dropouts -= {"pooler_dropout", "head_dropout"}  # of finetuning
    assert len(dropouts) == 4 and not any(getattr(model_config, name) for name in dropouts)
    warmup, length = steps(tiny, "optimizer.warmup_steps"), steps(tiny, "train.steps")
    assert 0.04 <= warmup / length <= 0.12 and length <= 2000


@pytest.mark.parametrize(
    "name, parameters",
    [
        ("bert_base", 110_106_428),
        ("bert:size=large", 336_226_108),
        ("gpt2", 124_439_808),
        ("gpt2:size=xl", 1_557_611_200),
        ("gpt3", 125_226_240),
        ("t5", 60_506_624),
        ("bart", 139_420_416),
        ("bart:size=large", 406_291_456),
        ("t5:size=11b", 11_307_321_344),
        ("t5_v1_1:size=base", 247_577_856),
        ("gpt1", 116_534_784),
        ("mistral", 7_241_732_096),
        ("roberta", 124_697_433),
        ("roberta:size=large", 355_412_057),
        ("deberta", 139_244_121 + 512 * 768),  # and the positions of the enhanced mask decoder
        ("deberta:size=large", 406_264_921 + 512 * 1024),
        ("flaubert", 138_233_088 + 68_729),  # and the bias over the vocabulary
    ],
)
def test_full_size_has_the_published_number_of_parameters(name, parameters):
    stem, _, arguments = name.partition(":")
    assert counted(load(stem, arguments)) == parameters


@pytest.mark.parametrize("stem", STEMS)
def test_documentation_gives_the_command_and_the_size(stem):
    doc = importlib.import_module(f"cloze.configs.{stem}").__doc__
    assert f"python train.py --config=configs/{stem}.py:tiny " in doc
    for word in doc.split():
        if word.startswith("--config=configs/"):
            path, _, arguments = word.removeprefix("--config=").partition(":")
            named = pathlib.Path(path).stem
            assert path == f"configs/{named}.py" and (named == stem or stem in NEEDS_A_RUN)
            load(named, arguments)
    if stem not in SIZES:
        config = load(stem)
        devices = config.devices
        assert f"{shown(counted(config))} parameters" in doc
        assert (f"for {devices} accelerators" if devices > 1 else "for one accelerator") in doc
        assert ("bfloat16 is faster" in doc) == (config.model.dtype == "float32") == (devices == 1)


def shown(count):
    return f"{count / 1e9:.3g}B" if count > 1e9 else f"{count / 1e6:.0f}M"


@pytest.mark.parametrize("stem, size", [pair for pair in SIZED if pair[0] != "gpt3"])
def test_a_table_gives_what_each_size_is(stem, size):
    config = load(stem, f"size={size}")
    rows = [line.split() for line in importlib.import_module(f"cloze.configs.{stem}").__doc__.splitlines()]
    (head,) = [row for row in rows if row[:2] == ["size", "parameters"]]
    (row,) = [row for row in rows if row[:1] == [size] and len(row) == len(head)]
    assert row[1:3] == [shown(counted(config)), f"{config.devices:,}"]
    if "tokens" in head:
        tokens = steps(config, "train.steps") * config.train.batch_size * config.data.sequence_length
        assert tokens == pytest.approx(float(row[head.index("tokens")].removesuffix("T")) * 1e12, rel=1e-4)


def test_gpt3_documents_its_devices():
    doc = " ".join(importlib.import_module("cloze.configs.gpt3").__doc__.split())
    listed = [f"{load('gpt3', f'size={size}').devices:,}" for size in decoders.GPT3_SIZES]
    assert f"{', '.join(listed[:-1])} and {listed[-1]} accelerators" in doc
    assert f"{', '.join(list(decoders.GPT3_SIZES)[1:-1])} or 175b" in doc


def test_bert_runs_in_two_phases_on_one_schedule():
    for prefix in ("", "tiny,"):
        first, second = load("bert_base", prefix), load("bert_base", prefix + "length=512")
        assert steps(first, "train.steps") == 0.9 * steps(second, "train.steps")
        assert steps(second, "train.steps") == steps(second, "optimizer.decay_steps")
        assert second.data.sequence_length == 4 * first.data.sequence_length
        for step in (0, 100, 500):
            assert schedule(first)(step) == schedule(second)(step)


def test_t5_learning_rate_is_that_of_the_paper():
    rate = schedule(load("t5", "size=base"))
    for step in (0, 9_999, 40_000, 999_999):
        assert rate(step) == pytest.approx(1 / max(step, 1e4) ** 0.5, rel=1e-4)


def test_gpt3_durations_are_those_of_the_paper():
    for size, tokens in {"125m": 0.5e6, "1.3b": 1e6, "13b": 2e6, "175b": 3.2e6}.items():
        config = load("gpt3", f"size={size}")
        step_tokens = config.train.batch_size * config.data.sequence_length
        assert step_tokens == pytest.approx(tokens, rel=0.05)
        assert steps(config, "train.steps") * step_tokens == pytest.approx(300e9, rel=1e-3)
        rate = schedule(config)
        assert rate(steps(config, "optimizer.warmup_steps")) == pytest.approx(config.optimizer.learning_rate, rel=1e-3)
        last = rate(steps(config, "optimizer.decay_steps"))
        assert last == rate(steps(config, "train.steps")) == pytest.approx(config.optimizer.learning_rate / 10)


@pytest.mark.parametrize("size, tokens, warmup, last", [
    ("1_65b", 1.4e12, 2000, 0.1), ("2_7b", 2e12, 2000, 0.1), ("3.1_405b", 15.6e12, 8000, 0.01),
])  # fmt: skip
def test_llama_durations_are_those_of_the_papers(size, tokens, warmup, last):
    config = load("llama", f"size={size}")
    step_tokens = config.train.batch_size * config.data.sequence_length
    assert step_tokens == pytest.approx(16e6 if size == "3.1_405b" else 4e6, rel=0.05)
    rate, peak = schedule(config), config.optimizer.learning_rate
    assert rate(warmup - 1) == pytest.approx(peak) and rate(warmup // 2 - 1) == pytest.approx(peak / 2)
    assert rate(round(tokens / step_tokens)) == pytest.approx(last * peak, rel=1e-3)


def test_tiny_llamas_group_heads_as_their_full_sizes_do():
    for stem, size in SIZED[len(decoders.GPT3_SIZES) :]:
        full, tiny = (models.resolve(load(stem, prefix + f"size={size}").model) for prefix in ("", "tiny,"))
        assert (full.kv_heads == full.heads) == (tiny.kv_heads == tiny.heads)
        assert (full.kv_heads == 1) == (tiny.kv_heads == 1)


@pytest.mark.parametrize(
    "stem, arguments",
    [("gpt3", "sparse"), ("mistral", ""), ("gemma2", ""), ("gemma3", ""), ("modernbert", "")],
)
def test_windows_are_shorter_than_rows(stem, arguments):
    for prefix in ("", "tiny,"):
        config = load(stem, prefix + arguments)
        windows = [block.window for block in models.resolve(config.model).blocks]
        assert 0 < max(windows) < config.data.sequence_length
        assert min(windows) == (windows[0] if stem == "mistral" else 0)
    assert models.resolve(load("gpt3").model).blocks[0].window == 0


def test_every_model_field_is_an_option():
    fields = {field.name for field in dataclasses.fields(models.ModelConfig)}
    assert fields == set(base.get_base().model)


@pytest.mark.parametrize(
    "stem, arguments, message",
    [
        ("bert_base", "tinny", "did you mean 'tiny'"),
        ("bert_base", "lenght=512", "did you mean 'length'"),
        ("bert_base", "length=256", "Known: 128, 512"),
        ("flaubert", "size=125m", "unknown config argument 'size'"),
        ("bert_base", "size=large", "size='large' is unknown"),
        ("bert_base", "text:a.txt", "unknown config argument 'text:a.txt'"),
        ("gpt3", "size=176b", "did you mean '175b'"),
        ("gpt3", "size", "'size' needs a value, for example size=125m"),
        ("gpt2", "data=", "'data' needs a value"),
        ("gpt3", "sparse=256", "'sparse' is a switch"),
        ("llama", "size=2_7", "did you mean '2_7b'"),
        ("t5", "tiny=maybe", "'tiny' is a switch"),
        ("t5", "tiny=", "'tiny' is a switch"),
    ],
)
def test_bad_arguments_are_explained(stem, arguments, message):
    with pytest.raises(ConfigError) as raised:
        load(stem, arguments)
    assert message in str(raised.value)


def test_a_language_model_of_the_study_hides_nothing():
    with pytest.raises(ConfigError, match="objective=lm and noise=mass: .* leave out one"):
        load("t5_study", "objective=lm,noise=mass")


@pytest.mark.parametrize("before, after, taken, of", [
    ("elmo", "elmo_classifier", 9, 21),
    ("glove", "lstm_classifier", 1, 6),
    ("skip_gram", "lstm_classifier", 1, 6),
    ("lstm_lm", "lstm_classifier:vectors=tuned", 4, 6),
    ("gpt1", "gpt1_classifier", 18, 19),
])  # fmt: skip
def test_classifiers_take_what_was_learned_before(before, after, taken, of, tmp_path):
    """By shapes alone, as a run checks it before it reads anything."""
    stem, _, arguments = after.partition(":")
    first, second = load(before, "tiny"), load(stem, f"tiny,{arguments}".rstrip(","))
    assert first.tokenizer == second.tokenizer
    tokenizer = tokenizers.train(["a few words of text"] * 20, first.tokenizer.kind, 300, first.tokenizer.lowercase, 0)
    tokenizer.save(tmp_path / "tokenizer")
    (tmp_path / "config.json").write_text(json.dumps(base.to_dict(first)))
    parameters = models.parameters(model_of(second))
    source = initial.open_donor(tmp_path, second.init.rules, tokenizer)
    plan = source.plan(parameters.shapes, parameters.axis_names)
    assert (len(plan), len(parameters.shapes)) == (taken, of)


@pytest.mark.parametrize(
    "arguments, source",
    [
        ("", "pydocs"),
        ("data=wikipedia", "tfds:wikipedia/20230601.en"),
        ("tiny,data=c4", "tfds:c4/en"),
        ("data=tfds:lm1b,tiny", "tfds:lm1b"),
        ("data=wikipedia=0.8,text:books/*.txt=0.2,tiny", "tfds:wikipedia/20230601.en=0.8,text:books/*.txt=0.2"),
        ("data=pydocs=0.5,c4=0.5", "pydocs=0.5,tfds:c4/en=0.5"),
        ("data=pydocs,lm1b", "pydocs,tfds:lm1b"),
    ],
)
def test_data_words_name_sources(arguments, source):
    config = load("bert_base", arguments)
    assert config.data.source == source
    assert (config.devices, config.model.layers) == ((1, 3) if "tiny" in arguments else (1, None))


def test_the_demo_is_bert_but_for_sizes_rate_and_length():
    demo, tiny = (
        load("demo", "data=text:x.txt").to_dict(),
        load("bert_base", "tiny,pairs=none,data=text:x.txt").to_dict(),
    )
    other = {
        f"{part}.{key}"
        for part, options in demo.items()
        if isinstance(options, dict)
        for key, value in options.items()
        if value != tiny[part][key]
    }
    sizes = {f"model.{key}" for key in ("width", "heads", "ffn", "vocab_size")} | {"tokenizer.vocab_size"}
    run = {"train.steps", "train.log_every", "train.eval_every", "checkpoint.every"}
    rate = {f"optimizer.{key}" for key in ("learning_rate", "warmup_steps", "decay_steps")}
    assert other == sizes | run | rate
    assert counted(load("demo")) == pytest.approx(0.9e6, rel=0.05)


@pytest.mark.parametrize("stem", ["bert_base", "gpt2", "t5"])
def test_flags_change_a_tiny_experiment(stem):
    values = flags.FlagValues()
    arguments = [
        "program", f"--config={ROOT}/configs/{stem}.py:tiny", "--config.train.batch_size=4",
        "--config.train.steps=2 epochs", "--config.optimizer.decay_steps=3 epochs",
        "--config.optimizer.learning_rate=3e-4", "--config.model.layers=1", "--config.model.dropout=0.1",
        "--config.data.sequence_length=32",
    ]  # fmt: skip
    flag = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=arguments)
    values(arguments)
    config = flag.value
    assert (config.train.batch_size, config.train.steps) == (4, "2 epochs")
    assert (config.optimizer.decay_steps, config.optimizer.learning_rate) == ("3 epochs", 3e-4)
    assert (config.model.layers, config.model.dropout, config.data.sequence_length) == (1, 0.1, 32)
