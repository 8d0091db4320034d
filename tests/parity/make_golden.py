"""Writes what the references give at one tiny shape, for `make test`, which has no PyTorch.

python -m tests.parity.make_golden
"""

import pathlib

import numpy as np

from models import names
from tests.parity import references

SIZE = dict(width=16, heads=2, ffn=24, layers=2)
FOLDER = pathlib.Path(__file__).parents[1] / "models" / "golden"


def main():
    """One file a family: parameters, batch and logits."""
    FOLDER.mkdir(exist_ok=True)
    cases = {
        "bert": references.bert(SIZE),
        "gpt2": references.gpt2(SIZE),
        "t5": references.t5(SIZE),
        "t5_v1_1": references.t5(SIZE, "v1_1_small"),
    }
    for name, (_, _, params, batch, expected) in cases.items():
        arrays = {f"params/{n}": np.asarray(leaf) for n, leaf in names.flatten(params).items()}
        arrays |= {f"batch/{n}": leaf for n, leaf in batch.items()}
        logits = expected.prediction_logits if name == "bert" else expected.logits
        arrays["logits"] = logits.detach().numpy()
        np.savez_compressed(FOLDER / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main()
