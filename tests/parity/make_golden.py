"""Writes what the references give at one tiny shape, for `make test`, which has no PyTorch.

python -m tests.parity.make_golden [model_type ...]
"""

import json
import sys

import numpy as np
import torch
import transformers

from cloze.interop import formats
from tests.interop import golden
from tests.parity import cases_decoders, cases_encoders, cases_relative, harness

CASES = [*cases_encoders.CASES, *cases_relative.CASES, *cases_decoders.CASES]
FIELDS = {  # of our outputs: what the reference calls it
    "logits": ("prediction_logits", "logits"),
    "nsp_logits": ("seq_relationship_logits", "sop_logits"),
}


def main(kinds):
    """One file a model type, of the first tiny case of its language-modelling class."""
    golden.FOLDER.mkdir(exist_ok=True)
    left = set(kinds or formats.model_types())
    for case in CASES:
        kind = getattr(transformers, case.model_class).config_class.model_type
        if kind not in left or not case.shape.startswith("tiny"):
            continue
        if not {"lm", "mlm"} & set(formats.get(kind).classes[case.model_class].heads):
            continue
        left.remove(kind)
        shapes = save(case, harness.reference(case))
        print(f"{case.id}: {len(shapes)} tensors")
    assert not left, f"no tiny case with a language model: {left}"


def save(case, module):
    """Draws the reference's parameters from their names, runs it, and keeps what it gives."""
    state = {name: parameter for name, parameter in module.named_parameters()}
    with torch.no_grad():
        for name, parameter in state.items():
            parameter.copy_(torch.from_numpy(golden.tensor(name, tuple(parameter.shape))))
        inputs = harness.make_inputs(case)
        outputs = dict(harness.run_reference(module, inputs).items())
    expected = {
        field: next((outputs[name] for name in candidates if name in outputs), None)
        for field, candidates in FIELDS.items()
    }
    shapes = {name: list(parameter.shape) for name, parameter in state.items()}
    settings = module.config.to_diff_dict() | {"architectures": [case.model_class]}
    arrays = {f"expected/{field}": value.numpy() for field, value in expected.items() if value is not None}
    arrays |= {f"batch/{name}": value for name, value in harness.make_batch(case, inputs).items()}
    arrays |= {"config": np.array(json.dumps(settings)), "shapes": np.array(json.dumps(shapes))}
    np.savez_compressed(golden.FOLDER / f"{case.model_class}.npz", **arrays)
    return shapes


if __name__ == "__main__":
    main(sys.argv[1:])
