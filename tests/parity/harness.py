"""One comparison for all classes of transformers: random weights, files, our model, and back.

A `Case` says which class, of which sizes, with which inputs. `compare` draws every parameter from N(0, 0.08) (default
initialisation would hide swapped norms and biases), saves the reference with `save_pretrained`, reads the directory
with `interop`, compares what both compute where there is no padding, writes the directory back and compares its tensors
bit by bit. With weights so small attention is nearly uniform and activations are nearly linear, so outputs are
compared once more with weights five times as large, where a wrong scale or form shows.
"""

import copy
import dataclasses
import functools
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from safetensors.numpy import load_file

from cloze import interop
from cloze.models import names

VOCAB, LABELS, CHOICES = 97, 3, 2
LIMIT = 1e-4  # times the largest reference value, or 1
# The second comparison: factor on all parameters, and its limit. Most stay under 1e-5; a Gemma of unrolled layers
# differs by 1.4e-5, one as a loop by less.
LARGER, LARGER_LIMIT = 5, 2e-5
DIFFERENCES = {}  # (class, shape, what): largest difference, over the largest reference value if that is above 1


@dataclasses.dataclass(frozen=True)
class Case:
    """One class at one shape.

    Attributes:
        model_class: name in transformers.
        shape: "tiny" or "odd", with anything that tells cases of a class apart.
        config: arguments of the class's configuration.
        length: tokens of a row.
        decoder_length: tokens of a decoder's row; 0: none are given, and a class with a decoder makes its own.
        token_types: how many, 0 for none are given.
        padding: "right", "left" or "none".
        inputs: (inputs in their layout, rng) -> changed inputs, for what a class takes beyond the usual.
        batch: (our batch, inputs in their layout) -> changed batch, to match.
        prepare: called with the reference before its parameters are drawn.
        gradients: whether to compare the gradient of a cross-entropy of the logits as well.
        bfloat16: whether to compare the errors of bfloat16 as well.
        ignored: names of tensors that need not come back (constants of the reference).
    """

    model_class: str
    shape: str
    config: dict
    length: int = 13
    decoder_length: int = 0
    token_types: int = 0
    padding: str = "right"
    inputs: Callable[[dict, Any], dict] = lambda inputs, rng: inputs
    batch: Callable[[dict, dict], dict] = lambda batch, inputs: batch
    prepare: Callable[[Any], None] = lambda reference: None
    gradients: bool = False
    bfloat16: bool = False
    ignored: tuple[str, ...] = ()

    @property
    def id(self):
        return f"{self.model_class}-{self.shape}"


def reference(case):
    """The PyTorch module with random parameters, in evaluation mode."""
    cls = getattr(transformers, case.model_class)
    config = cls.config_class(**{"vocab_size": VOCAB, "num_labels": LABELS, **case.config})
    config._attn_implementation = "eager"
    module = cls(config)
    case.prepare(module)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.08)
    return module.eval()


def make_inputs(case):
    """Inputs in transformers' layout, numpy: random ids from 5 up; rows of a padded batch differ in length."""
    rng = np.random.default_rng(0)
    shape = (3, CHOICES, case.length) if case.model_class.endswith("MultipleChoice") else (3, case.length)
    inputs = {"input_ids": rng.integers(5, VOCAB, shape), "attention_mask": np.ones(shape, np.int64)}
    if case.padding != "none":
        for row, missing in ((1, 4), (2, case.length - 4)):
            part = slice(None, missing) if case.padding == "left" else slice(case.length - missing, None)
            inputs["attention_mask"][row, ..., part] = 0
    if case.token_types:
        inputs["token_type_ids"] = rng.integers(0, case.token_types, shape)
    if case.decoder_length:
        inputs["decoder_input_ids"] = rng.integers(5, VOCAB, (3, case.decoder_length))
    return case.inputs(inputs, rng)


def make_batch(case, inputs):
    """The same in ours."""
    flat = {key: np.asarray(value).reshape(-1, case.length).astype(np.int32) for key, value in inputs.items()
            if key in ("input_ids", "attention_mask", "token_type_ids")}  # fmt: skip
    batch = {"tokens": flat["input_ids"]}
    if case.padding != "none":
        batch["segments"] = flat["attention_mask"]
    if "token_type_ids" in flat:
        batch["token_types"] = flat["token_type_ids"]
    if "decoder_input_ids" in inputs:
        batch["decoder_tokens"] = inputs["decoder_input_ids"].astype(np.int32)
    return case.batch(batch, inputs)


def run_reference(module, inputs):
    return module(**{key: torch.as_tensor(value) for key, value in inputs.items()}, output_hidden_states=True)


def _pairs(heads, ours, theirs):
    """[(what, ours, theirs, whether it has a place for each token)] that should be equal."""
    found = []
    if {"lm", "mlm"} & set(heads):
        found.append(("logits", ours.logits, theirs.get("prediction_logits", theirs.get("logits")), True))
    if "nsp" in heads:
        logits = next(theirs[k] for k in ("seq_relationship_logits", "sop_logits", "logits") if k in theirs)
        found.append(("pair logits", ours.heads["nsp"], logits, False))
    if "class" in heads:
        found.append(("class logits", ours.heads["class"], theirs["logits"], False))
    if "choice" in heads:
        logits = theirs.get("mc_logits", theirs.get("logits"))
        found.append(("choice logits", ours.heads["choice"].reshape(logits.shape), logits, False))
    if "tag" in heads:
        found.append(("tag logits", ours.heads["tag"], theirs["logits"], True))
    if "rtd" in heads:
        found.append(("replaced logits", ours.heads["rtd"], theirs["logits"], True))
    if "span" in heads:
        found.append(("start logits", ours.heads["span"][..., 0], theirs["start_logits"], True))
        found.append(("end logits", ours.heads["span"][..., 1], theirs["end_logits"], True))
    if "pooler" in heads:
        found.append(("pooled", ours.pooled, theirs["pooler_output"], False))
    return found


def _state_pairs(ours, theirs):
    """The states between layers; the reference's last one has been through the final norm."""
    found = []
    two_stacks = "encoder_last_hidden_state" in theirs
    states = theirs.get("decoder_hidden_states" if two_stacks else "hidden_states")
    for mine, state in zip([*ours.hidden_states[:-1], ours.hidden], states, strict=True):
        found.append(("hidden states", mine, state, True))
    if two_stacks:
        mine = [*ours.encoder_hidden_states[:-1], ours.encoder_hidden]
        for state, other in zip(mine, theirs["encoder_hidden_states"], strict=True):
            found.append(("encoder states", state, other, True))
    return found


def check(case, what, ours, theirs, seen=None, limit=LIMIT):
    """Records the largest difference at the places that are seen, and holds it against the limit."""
    theirs = theirs.detach().float().numpy()
    ours = np.asarray(ours, np.float32)
    assert ours.shape == theirs.shape, (what, ours.shape, theirs.shape)
    difference, scale = np.abs(ours - theirs), np.abs(theirs)
    if seen is not None and seen.shape == ours.shape[:2]:
        difference, scale = difference[seen], scale[seen]
    key = (case.model_class, case.shape, what)
    relative = float(difference.max() / max(1.0, scale.max()))
    DIFFERENCES[key] = max(relative, DIFFERENCES.get(key, 0.0))
    assert relative <= limit, (what, relative)


def compare(case, directory):
    """The whole comparison of a case, with files under `directory`."""
    module = reference(case)
    module.save_pretrained(directory / "theirs")
    inputs = make_inputs(case)
    model, params = interop.load_hf(directory / "theirs")
    batch = make_batch(case, inputs)
    run = jax.jit(functools.partial(model.apply, collect=True))
    ours, theirs = run({"params": params}, batch), run_reference(module, inputs)
    compare_outputs(case, model, batch, ours, theirs)
    if case.gradients:
        compare_gradients(case, module, model, params, batch, inputs, directory)
    if case.bfloat16:
        compare_bfloat16(case, module, batch, inputs, ours, theirs, directory)
    compare_files(case, model, params, directory)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(LARGER)
    ours = run({"params": jax.tree.map(lambda leaf: leaf * LARGER, params)}, batch)
    compare_outputs(case, model, batch, ours, run_reference(module, inputs), ", larger weights", LARGER_LIMIT)


def compare_outputs(case, model, batch, ours, theirs, suffix="", limit=LIMIT):
    """All outputs of the heads and all states between layers, at the places that are no padding."""
    theirs = dict(theirs.items())
    seen = batch["segments"].astype(bool) if "segments" in batch else None
    decoder_seen = None if "decoder_tokens" in batch else seen
    pairs = _pairs(model.config.heads_out, ours, theirs)
    assert pairs or not model.config.heads_out
    for what, mine, other, by_token in pairs:
        check(case, what + suffix, mine, other, decoder_seen if by_token else None, limit)
    if ours.query_hidden is None:
        for what, mine, other, _ in _state_pairs(ours, theirs):
            check(case, what + suffix, mine, other, seen if what.startswith("encoder") else decoder_seen, limit)


def compare_gradients(case, module, model, params, batch, inputs, directory):
    """Gradients of the mean cross-entropy of the logits with random targets, over all parameters."""
    logits = run_reference(module, inputs)
    logits = logits.get("prediction_logits", logits.get("logits"))
    targets = np.random.default_rng(1).integers(0, VOCAB, logits.shape[:-1])
    seen = batch.get("segments") if "decoder_tokens" not in batch else None
    weights = np.ones(targets.shape, np.float32) if seen is None or seen.shape != targets.shape else seen
    weights = weights / weights.sum()
    log_probs = torch.log_softmax(logits, -1).gather(-1, torch.as_tensor(targets)[..., None])[..., 0]
    (-(log_probs * torch.as_tensor(weights)).sum()).backward()

    def loss(params):
        log_probs = jax.nn.log_softmax(model.apply({"params": params}, batch).logits)
        return -(jnp.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0] * weights).sum()

    got = names.flatten(jax.jit(jax.grad(loss))(params))
    with torch.no_grad():  # the gradients take the parameters' way: into a directory and through interop
        kept = {name: parameter.clone() for name, parameter in module.named_parameters()}
        for parameter in module.parameters():
            parameter.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
        module.save_pretrained(directory / "gradients")
        for name, parameter in module.named_parameters():
            parameter.copy_(kept[name])
    expected = names.flatten(interop.load_hf(directory / "gradients")[1])
    largest = max(float(np.abs(grad).max()) for grad in expected.values())
    worst = 0.0
    for name, grad in expected.items():
        difference = float(np.abs(np.asarray(got[name]) - np.asarray(grad)).max())
        # Of each parameter's own largest, above what rounding leaves of the largest of all.
        worst = max(worst, difference / (float(np.abs(grad).max()) + 1e-4 * largest))
        assert worst <= 1e-3, (name, worst)
    DIFFERENCES[case.model_class, case.shape, "gradients, of each parameter's largest"] = worst


def compare_bfloat16(case, module, batch, inputs, ours, theirs, directory):
    """The error that bfloat16 brings is at most twice the reference's own."""
    model, params = interop.load_hf(directory / "theirs", dtype="bfloat16")
    rough = jax.jit(functools.partial(model.apply, collect=True))({"params": params}, batch)
    rough_theirs = dict(run_reference(copy.deepcopy(module).to(torch.bfloat16), inputs).items())
    seen = batch.get("segments", np.ones(1)).astype(bool)
    heads = model.config.heads_out
    for (what, mine, other, _), (_, exact, exact_other, _) in zip(
        _pairs(heads, rough, rough_theirs), _pairs(heads, ours, dict(theirs.items())), strict=True
    ):
        errors = []
        for value, best in ((mine, exact), (other.detach().float().numpy(), exact_other.detach().numpy())):
            error = np.asarray(value, np.float32) - np.asarray(best, np.float32)
            error = error[seen] if seen.shape == error.shape[:2] else error
            errors.append(float(np.sqrt(np.mean(np.square(error)))))
        DIFFERENCES[case.model_class, case.shape, f"bfloat16 error of {what}, ours over theirs"] = errors[0] / errors[1]
        assert errors[0] <= 2 * errors[1], (what, errors)


def compare_files(case, model, params, directory):
    """What we write has the tensors that transformers wrote, bit by bit, and is read by its AutoModel."""
    interop.save_hf(directory / "ours", model.config, params)
    written, expected = (
        load_file(directory / "ours" / "model.safetensors"),
        load_file(directory / "theirs" / "model.safetensors"),
    )
    expected = {name: tensor for name, tensor in expected.items() if name not in case.ignored}
    assert set(written) == set(expected)
    for name, tensor in expected.items():
        assert written[name].dtype == tensor.dtype and np.array_equal(written[name], tensor), name
    settings = json.loads((directory / "ours" / "config.json").read_text())
    assert settings["architectures"] == [case.model_class]
    auto = getattr(transformers, case.model_class)
    _, loading = auto.from_pretrained(directory / "ours", output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not set(loading[kind]) - set(case.ignored), (kind, loading[kind])
    transformers.AutoModel.from_pretrained(directory / "ours")


def table():
    """Lines: every class and shape with the largest difference of each kind."""
    lines = [f"{'class':<38}{'shape':<42}{'what':<48}largest difference"]
    return lines + [f"{c:<38}{s:<42}{w:<48}{difference:.1e}" for (c, s, w), difference in DIFFERENCES.items()]
