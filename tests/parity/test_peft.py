"""LoRA against the `peft` package: the same files, outputs and gradients, on the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from cloze import interop, models
from cloze.interop import peft as ours
from cloze.models import names
from cloze.models.adapted import Adapted
from cloze.models.low_rank import Lora
from tests.parity import harness
from tests.parity.cases_decoders import CASES as DECODERS
from tests.parity.cases_encoders import CASES as ENCODERS

peft = pytest.importorskip("peft")

BY_ID = {case.id: case for case in [*ENCODERS, *DECODERS]}
CASES = {  # case: modules that peft adapts, and whether each is one of our kernels
    "BertForSequenceClassification-tiny": (["query", "value", "intermediate.dense"], True),
    "LlamaForCausalLM-tiny": (["q_proj", "v_proj", "down_proj"], True),
    "T5ForConditionalGeneration-tiny": (["q", "v", "wo"], True),
    "GPT2LMHeadModel-tiny": (["c_attn", "c_fc"], False),
    "OpenAIGPTLMHeadModel-tiny": (["c_attn", "mlp.c_proj"], False),
}
BERT, LLAMA, GPT2 = "BertForSequenceClassification-tiny", "LlamaForCausalLM-tiny", "GPT2LMHeadModel-tiny"
PAIRS = [(case, "") for case in CASES] + [(BERT, "use_rslora"), (GPT2, "use_rslora")]
PAIRS += [(case, "use_dora") for case in (BERT, LLAMA, GPT2)]
LIMIT = 1e-4


def randomise(module, only, seed):
    """Numbers from N(0, 0.3) in all parameters with `only` in their names."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if only in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)


def logits_of(case, module):
    inputs = harness.make_inputs(case)
    return inputs, module(**{key: torch.as_tensor(value) for key, value in inputs.items()}).logits


def scores(outputs):
    """What the model's only head gives, or the one over the vocabulary."""
    return outputs.heads["class"] if "class" in outputs.heads else outputs.logits


def close(mine, theirs):
    theirs = theirs.detach().numpy()
    np.testing.assert_allclose(mine, theirs, atol=LIMIT * max(1.0, np.abs(theirs).max()))


@pytest.fixture(params=PAIRS, scope="module", ids="-".join)
def pair(request, tmp_path_factory):
    """(case, directory of the base, peft's model with random factors, its logits, whether kernels are modules)."""
    name, kind = request.param
    case, (targets, one_to_one) = BY_ID[name], CASES[name]
    base = harness.reference(case)
    directory = tmp_path_factory.mktemp("peft")
    base.save_pretrained(directory / "base")
    fused = any("c_" in target for target in targets)
    told = dict(r=3, lora_alpha=6, target_modules=targets, fan_in_fan_out=fused, lora_dropout=0.0)
    settings = peft.LoraConfig(**told | ({kind: True} if kind else {}))
    module = peft.get_peft_model(base, settings).eval()
    randomise(module, "lora_", 1)
    module.save_pretrained(directory / "adapter")
    return case, directory, module, one_to_one


def test_what_peft_saved_computes_the_same_here_and_trains_the_same(pair):
    case, directory, module, one_to_one = pair
    model, params = interop.load_hf(directory / "base")
    lora, tree = ours.load_lora(directory / "adapter", model.config, base=lambda: names.flatten(params))
    adapted = Adapted(model, (lora,))
    stored = names.unflatten(names.flatten(params) | names.flatten(tree))
    inputs, theirs = logits_of(case, module)
    batch = harness.make_batch(case, inputs)
    weights = np.random.default_rng(2).normal(size=theirs.shape).astype(np.float32)
    if theirs.shape[:2] == batch["tokens"].shape and "segments" in batch:
        weights *= batch["segments"][..., None] > 0
    seen = weights != 0

    @jax.jit
    def run(factors):
        def loss(factors):
            outputs = adapted.apply({"params": {**stored, "lora": factors}}, batch)
            made = scores(outputs)
            return (made * weights).mean(), made

        return jax.grad(loss, has_aux=True)(factors)

    gradient, mine = run(jax.tree.map(jnp.asarray, tree["lora"]))
    close(np.where(seen, mine, 0), torch.as_tensor(seen) * theirs)
    assert np.abs(mine - scores(jax.jit(model.apply)({"params": params}, batch))).max() > 0.01
    if not one_to_one:  # kernels share a factor there, so gradients are other things
        return
    (theirs * torch.as_tensor(weights)).mean().backward()
    with torch.no_grad():  # the gradients take the factors' way: into a directory and out of it
        for name, parameter in module.named_parameters():
            if "lora_" in name:
                kept = parameter.clone()
                parameter.copy_(parameter.grad)
                parameter.grad = kept
    module.save_pretrained(directory / "gradients")
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_" in name:
                parameter.copy_(parameter.grad)
    zeros = {name: np.zeros(leaf.shape) for name, leaf in names.flatten(params).items()}  # lengths to compare with
    _, expected = ours.load_lora(directory / "gradients", model.config, base=lambda: zeros)
    expected, got = names.flatten(expected), {f"lora/{n}": leaf for n, leaf in names.flatten(gradient).items()}
    assert set(expected) == set(got)
    for name, leaf in expected.items():
        assert np.abs(leaf).max() > 0
        np.testing.assert_allclose(got[name], leaf, atol=1e-3 * np.abs(leaf).max() + 1e-7, err_msg=name)


def test_what_we_save_computes_the_same_in_peft(pair, tmp_path):
    case, directory, _, _ = pair
    model, params = interop.load_hf(directory / "base")
    lora, _ = ours.load_lora(directory / "adapter", model.config, base=lambda: names.flatten(params))
    targets = ((r".*/layers/0/attention/query/kernel", False), (r".*/(query|value|up)/kernel", True), (r".*", False))
    lora = Lora(2, 5.0, targets, lora.scaling, lora.magnitudes)
    adapted = Adapted(model, (lora,))
    rng = np.random.default_rng(3)
    base = names.flatten(params)
    shapes = models.parameters(adapted).shapes
    flat = {n: base[n] if n in base else rng.normal(0, 0.3, s).astype(np.float32) for n, s in shapes.items()}
    for name, leaf in flat.items():
        if name.endswith(("/layers/attention/query/b", "/layers/attention/query/m")):
            leaf[0] = 0  # as it begins and stays: this layer's is not adapted
    stored = names.unflatten(flat)
    ours.save_lora(tmp_path / "adapter", model.config, stored, lora, report=lambda line: None)
    module = peft.PeftModel.from_pretrained(harness.reference(case), tmp_path / "adapter").eval()
    inputs, theirs = logits_of(case, module)
    batch = harness.make_batch(case, inputs)
    mine = scores(jax.jit(adapted.apply)({"params": stored}, batch))
    seen = np.ones(mine.shape, bool)
    if mine.shape[:2] == batch["tokens"].shape and "segments" in batch:
        seen &= batch["segments"][..., None] > 0
    close(np.where(seen, mine, 0), torch.as_tensor(seen) * theirs)
