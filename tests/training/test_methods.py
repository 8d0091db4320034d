"""What of a model trains under each method: by name, to the bit, and in the optimizer's memory."""

import dataclasses
import re
import types

import jax
import numpy as np
import pytest

from cloze import models
from cloze.configs import base
from cloze.errors import ConfigError
from cloze.models import names
from cloze.options import option
from cloze.training import methods
from cloze.training.methods.base import METHODS, SmallParts
from cloze.training.trainable import Split
from tests.models import tiny
from tests.training import tiny_run, tiny_task

LAYERS = 3
HEAD = r"(pooler|classifier)/.*"
# What trains of a BERT of three layers, in the words of the papers; the first stage where there are several.
TRAINS = {
    "full": r".*",
    "linear_probe": r"classifier/.*",
    "lp_ft": r"classifier/.*",
    "freeze": rf"{HEAD}|encoder/layers/[12]/.*",
    "last_layers": rf"{HEAD}|encoder/layers/2/.*",
    "gradual": HEAD,
    "bitfit": rf"{HEAD}|.*/bias",
    "lora": rf"{HEAD}|lora/encoder/layers/\d/attention/(query|value)/[ab]",
    "dora": rf"{HEAD}|lora/encoder/layers/\d/attention/(query|value)/[abm]",
    "adapters": rf"{HEAD}|.*_adapter/(up|down)/(kernel|bias)|.*norm/(scale|bias)",
    "prefix": rf"{HEAD}|prefix/.*|encoder/layers/\d/attention/prefix_gate",
    "prompt": rf"{HEAD}|encoder_prompt/embedding",
    "p_tuning": rf"{HEAD}|prompt/.*",
}
# A softmax ignores what all of its scores have in common: such gradients are rounding.
UNFELT = r"(.*attention/key|prefix/encoder/layers/key)/bias"


def test_every_method_is_here():
    assert set(TRAINS) == set(methods.METHODS)


@pytest.mark.parametrize("method", TRAINS)
def test_what_the_method_names_trains_and_all_else_stays_to_the_bit(method, task_root):
    program = tiny_run.build(tiny_task.config("bert", task_root, method, model__layers=LAYERS))
    state = tiny_task.any_state(program)
    before = tiny_task.parameters(program, state)
    wanted = {name for name in before if re.fullmatch(TRAINS[method], name)}
    assert tiny_task.training(program.split) == wanted

    frozen = set(names.flatten(state.frozen))
    sizes = {name: shape for name, shape in program.split.trainable_shapes().items()}
    assert {name: leaf.shape for name, leaf in names.flatten(state.trainable).items()} == sizes
    count = sum(before[name].size for name in wanted)
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert sum(leaf.nbytes for leaf in moments) == 2 * 4 * count  # Adam's two, f32

    state, (metrics,) = tiny_run.run(program, 1, state)
    after = tiny_task.parameters(program, state)
    moved = {name for name, array in after.items() if (array != before[name]).any()}
    assert moved <= wanted
    assert {name for name in wanted - moved if not re.fullmatch(UNFELT, name)} == set()
    assert set(names.flatten(state.frozen)) == frozen and np.isfinite(metrics["loss"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Norms(SmallParts):
    """A method that is this class and nothing else."""

    share: float = option(0.5, "of nothing", least=0, most=1)

    patterns = (r".*norm/(scale|bias)",)


def test_a_method_that_registers_itself_trains(monkeypatch, task_root):
    dict(METHODS)  # all files are read
    monkeypatch.setitem(METHODS._entries, "norms", Norms)
    config = tiny_task.config("bert", task_root, "norms", finetune__share=0.25)
    experiment = tiny_run.build(config)
    state = tiny_task.any_state(experiment)
    before = tiny_task.parameters(experiment, state)
    state, (metrics,) = tiny_run.run(experiment, 1, state)
    after = tiny_task.parameters(experiment, state)
    moved = {name for name, array in after.items() if (array != before[name]).any()}
    assert moved == {name for name in before if re.fullmatch(rf"{HEAD}|.*norm/(scale|bias)", name)}
    config.finetune.share = 2.0
    with pytest.raises(ConfigError, match="finetune.share=2.0 must be at least 0 and at most 1"):
        base.check(config)


def model(family, method, heads, **changes):
    """(configuration, {name: shape}) of a tiny model of three layers, two in a decoder behind an encoder."""
    config = base.get_base()
    sizes = tiny.FAMILIES.get(family, dict(family=family, preset="base", **tiny.SIZE))
    config.model.update(**sizes, attention_dropout=0.0, heads_out=heads)
    if "decoder_layers" in sizes:
        config.model.decoder_layers = 2
    config.finetune.method = method
    small = dict(lora_rank=2, adapter_size=4, prefix_length=3, prefix_hidden=6, prompt_length=4)
    config.finetune.update({k: value for k, value in small.items() if k in config.finetune} | changes)
    objective = types.SimpleNamespace(model=models.build)
    return config, models.parameters(methods.make_model(config, objective, methods.model_config(config))).shapes


def trained(config, shapes, steps=lambda option: 2):
    """The names that train in each stage."""
    found = methods.stages(config, shapes, steps)
    return [tiny_task.training(Split(stage.rules, shapes, methods.optional_patterns(config))) for stage in found]


def every_name(shapes):
    return set(tiny_task.by_layer({name: np.zeros(shape[:1]) for name, shape in shapes.items()}))


ATTENTION = "attention/(query|value)/[ab]"
CASES = [
    ("gpt2", ("class", "lm"), "linear_probe", r"classifier/.*"),
    ("gpt2", ("class", "lm"), "freeze", r"classifier/.*|decoder/(layers/[12]|final_norm)/.*"),
    ("gpt2", ("class", "lm"), "last_layers", r"classifier/.*|decoder/(layers/2|final_norm)/.*"),
    ("gpt2", ("lm",), "bitfit", r".*/bias"),  # the head is the token table
    ("gpt2", ("lm",), "lora", rf"lora/decoder/layers/./{ATTENTION}"),
    ("gpt2", ("lm",), "prefix", r"prefix/decoder/.*|decoder/layers/./attention/prefix_gate"),
    ("gpt2", ("lm",), "prompt", r"decoder_prompt/embedding"),
    ("t5", ("class",), "linear_probe", r"classifier/.*"),
    ("t5", ("class",), "freeze", rf"{HEAD}|encoder/layers/[12]/.*|decoder/layers/1/.*|.*/final_norm/.*"),
    ("t5", ("class",), "last_layers", rf"{HEAD}|encoder/layers/2/.*|decoder/layers/1/.*|.*/final_norm/.*"),
    ("t5", ("lm",), "lora", rf"lora/(encoder|decoder)/layers/./{ATTENTION}"),
    ("t5", ("lm",), "adapters", r"(en|de)coder/layers/./[a-z_]*_adapter/(up|down)/(kernel|bias)|.*norm/(scale|bias)"),
    ("t5", ("lm",), "prefix", r"prefix/(en|de)coder/.*|(en|de)coder/layers/./attention/prefix_gate"),
    ("t5", ("lm",), "prompt", r"encoder_prompt/embedding"),
    ("t5", ("lm",), "p_tuning", r"prompt/encoder/.*"),
    ("lstm", ("class",), "last_layers", r"classifier/.*|forward/layers/2/.*"),
    ("roberta", ("tag",), "linear_probe", r"tagger/.*"),
    ("xlnet", ("span",), "bitfit", r"span_head/.*|.*/bias"),
]


@pytest.mark.parametrize("family, heads, method, pattern", CASES)
def test_other_families_and_heads(family, heads, method, pattern):
    config, shapes = model(family, method, heads)
    wanted = {name for name in every_name(shapes) if re.fullmatch(pattern, name)}
    assert wanted and trained(config, shapes) == [wanted]


GRADUAL = {
    ("gpt2", ("class",)): [
        r"classifier/.*", r"decoder/(layers/2|final_norm)/.*", r"decoder/layers/1/.*", r"decoder/layers/0/.*",
        r"(token|decoder_embeddings)/.*",
    ],
    ("gpt2", ("lm",)): [  # the head is the token table, and begins with the top layer
        r"token/.*|decoder/(layers/2|final_norm)/.*", r"decoder/layers/1/.*", r"decoder/layers/0/.*",
        r"decoder_embeddings/.*",
    ],
    ("t5", ("class",)): [  # the tops of both stacks together, until each has no more
        HEAD, r"(encoder/layers/2|decoder/layers/1|..coder/final_norm)/.*", r"(encoder/layers/1|decoder/layers/0)/.*",
        r"encoder/layers/0/.*", r"(token|..coder_relative_bias)/.*",
    ],
}  # fmt: skip


@pytest.mark.parametrize("family, heads", GRADUAL)
@pytest.mark.parametrize("unfreeze", ["epochs", "plateau"])
def test_gradual_unfreezing_adds_the_named_layers_and_keeps_the_others(family, heads, unfreeze):
    every = "1 epochs" if unfreeze == "epochs" else None
    config, shapes = model(family, "gradual", heads, unfreeze=unfreeze, unfreeze_every=every)
    wanted, so_far = [], set()
    for pattern in GRADUAL[family, heads]:
        added = {name for name in every_name(shapes) if re.fullmatch(pattern, name)}
        assert added and not added & so_far
        so_far = so_far | added
        wanted.append(so_far)
    assert so_far == every_name(shapes)
    assert trained(config, shapes) == wanted
    starts = [stage.start for stage in methods.stages(config, shapes, lambda option: 7)]
    later = range(1, len(wanted))
    assert starts == [0, *(7 * k if unfreeze == "epochs" else None for k in later)]


def test_gradual_unfreezing_ends_in_the_middle_of_the_run_unless_told_otherwise():
    config, shapes = model("bert", "gradual", ("class",))
    starts = [stage.start for stage in methods.stages(config, shapes, {"train.steps": 80}.__getitem__)]
    assert starts == [0, 10, 20, 30, 40]


@pytest.mark.parametrize("method", ["freeze", "last_layers", "gradual"])
def test_layers_that_share_their_parameters_cannot_be_told_apart(method):
    with pytest.raises(ConfigError, match="model.family=albert share their parameters"):
        model("albert", method, ("class",))


@pytest.mark.parametrize("method, changes, message", [
    ("gradual", dict(unfreeze_every=0), "unfreeze_every comes to 0 steps"),
    ("lp_ft", dict(probe_steps=0), "probe_steps comes to 0 steps"),
])  # fmt: skip
def test_stages_without_a_step_are_refused(method, changes, message):
    config, shapes = model("bert", method, ("class",), **changes)
    with pytest.raises(ConfigError, match=message):
        methods.stages(config, shapes, lambda option: changes.get(option.split(".")[1], 7))


def test_lora_leaves_out_layers_that_its_targets_leave_out():
    targets = ((r".*/layers/1/attention/value/kernel", False), (r".*/(query|value)/kernel", True), (r".*", False))
    config, shapes = model("gpt2", "lora", ("lm",), lora_targets=targets)
    (found,) = trained(config, shapes)
    numbers = {"query": "012", "value": "02"}
    assert found == {
        f"lora/decoder/layers/{n}/attention/{kind}/{factor}" for kind, ns in numbers.items() for n in ns
        for factor in "ab"
    }  # fmt: skip


@pytest.mark.parametrize("method", ["linear_probe", "bitfit", "lora", "gradual", "prompt"])
def test_more_may_be_named(method):
    config, shapes = model("bert", method, ("class",), also=(r"encoder_embeddings/norm/scale",))
    plain = trained(*model("bert", method, ("class",)))
    for more, less in zip(trained(config, shapes), plain, strict=True):
        assert more == less | {"encoder_embeddings/norm/scale"}
    config, shapes = model("bert", method, ("class",), also=(r"embedings/.*",))
    with pytest.raises(ConfigError, match=r"'embedings/.*' matches no parameter"):
        trained(config, shapes)


@pytest.mark.parametrize("method, message", [
    ("linear_probe", "finetune.method=linear_probe trains the head alone.*token table"),
    ("lp_ft", "finetune.method=lp_ft trains the head alone.*token table"),
    ("bitfit", "finetune.method=bitfit: this model has no biases"),
])  # fmt: skip
def test_a_method_without_anything_to_train_is_refused(method, message):
    config, shapes = model("t5", method, ("lm",))
    with pytest.raises(ConfigError, match=message):
        methods.stages(config, shapes)


@pytest.mark.parametrize("family, heads, method, message", [
    ("bert", ("class",), "freeze", "finetune.layers=4: the model has 3 layers"),
    ("bert", ("class",), "last_layers", "finetune.layers=4: the model has 3 layers"),
])  # fmt: skip
def test_more_layers_than_there_are_are_refused(family, heads, method, message):
    config, shapes = model(family, method, heads)
    config.finetune.layers = 4
    with pytest.raises(ConfigError, match=message):
        methods.stages(config, shapes)


@pytest.mark.parametrize("changes, message", [
    (dict(method="lorra"), "finetune.method='lorra'; did you mean 'lora'"),
    (dict(method="freeze", layers=0), "finetune.layers=0 must be at least 1"),
    (dict(method="lora", layers=2), "finetune.layers is an option of freeze, last_layers, and finetune.method=lora"),
    (dict(method="gradual", unfreeze="epoch"), "unfreeze='epoch' is not one of epochs, plateau; did you mean 'epochs'"),
    (dict(method="gradual", unfreeze="plateau", unfreeze_every=3), "finetune.unfreeze_every=3 needs .*=epochs"),
    (dict(method="gradual", patience=0), "finetune.patience=0 must be at least 1"),
    (dict(save="some"), "finetune.save='some' is not one of auto, all, trainable"),
    (dict(feature_norm="unit"), "finetune.feature_norm is an option of linear_probe, and finetune.method=full"),
    (dict(method="lp_ft", probe_learning_rate=0.0), "finetune.probe_learning_rate=0.0 must be more than 0"),
])  # fmt: skip
def test_options_that_contradict_each_other_are_refused(changes, message):
    config = base.get_base()
    with pytest.raises(ConfigError, match=message):
        config.finetune.update(changes)
        base.check(config)


def test_a_method_and_rules_of_ones_own_are_refused():
    config = base.get_base()
    config.trainable = ((r"token/.*", False), (r".*", True))
    methods.check(config)
    config.finetune.method = "lora"
    with pytest.raises(ConfigError, match="finetune.method=lora decides itself what trains.*finetune.also"):
        methods.check(config)


def electra_exponent(name, layers):
    """n_layers + 2 - depth of ELECTRA's finetuning: depth 0 of embeddings, i + 1 of layer i, n_layers + 2 of a head."""
    if found := re.match(r"(?:lora/)?encoder/layers/(\d+)/", name):
        return layers + 2 - (int(found[1]) + 1)
    return 0 if re.fullmatch(HEAD, name) else layers + 2


@pytest.mark.parametrize("method", ["full", "lora"])
def test_layer_decay_is_that_of_electra(method):
    config, shapes = model("bert", method, ("class",))
    config.optimizer.update(layer_decay=0.8, multipliers=((r"token/.*", 0.5), (r".*", 1.0)))
    found = methods.multipliers(config.optimizer, shapes)
    flat = tiny_task.by_layer({name: np.atleast_1d(value) for name, value in found.items()})
    assert set(flat) == every_name(shapes)
    for name, value in flat.items():
        wanted = 0.8 ** electra_exponent(name, LAYERS) * (0.5 if name.startswith("token/") else 1.0)
        assert value == pytest.approx(wanted), name


def test_layer_decay_counts_each_stack_from_its_top():
    _, shapes = model("t5", "full", ("class",))
    optimizer = base.get_base().optimizer
    optimizer.layer_decay = 0.5
    found = methods.multipliers(optimizer, shapes)
    np.testing.assert_array_equal(found["encoder/layers/ffn/up/kernel"], 0.5 ** np.array([4, 3, 2]))
    np.testing.assert_array_equal(found["decoder/layers/ffn/up/kernel"], 0.5 ** np.array([3, 2]))
    assert found["classifier/kernel"] == 1 and found["encoder/final_norm/scale"] == 0.5**2
    assert found["token/embedding"] == found["decoder_relative_bias/embedding"] == 0.5**5


@pytest.mark.parametrize("changes, message", [
    (dict(multipliers=((r"tokens/.*", 2.0), (r".*", 1.0))), "optimizer.multipliers.*'tokens/.*' matches no parameter"),
    (dict(multipliers=((r"token/.*", 2.0),)), "optimizer.multipliers cover no"),
])  # fmt: skip
def test_factors_that_make_no_sense_are_refused(changes, message):
    _, shapes = model("bert", "full", ("class",))
    optimizer = base.get_base().optimizer
    optimizer.update(changes)
    with pytest.raises(ConfigError, match=message):
        methods.multipliers(optimizer, shapes)
