"""Pretrains, finetunes, evaluates and samples BERT-, GPT- and T5-style language models in JAX and Flax.

All of the library is `cloze.<room>`: `cloze.models`, `cloze.objectives`, `cloze.interop` and so on. In a checkout the
rooms lie beside this folder; an installation has them inside it.
"""

import importlib
import pathlib

ROOMS = (
    "analysis", "configs", "data", "decoding", "interop", "launchers", "laws", "models", "objectives", "parallel",
    "reports", "sweeps", "tasks", "training",
)  # fmt: skip

_here = pathlib.Path(__file__).resolve().parent
if not (_here / "models").is_dir():
    __path__.append(str(_here.parent))


def __getattr__(name):
    """Imports a room when it is first used, so that `import cloze` is quick."""
    if name in ROOMS:
        return importlib.import_module(f"cloze.{name}")
    raise AttributeError(f"module 'cloze' has no attribute {name!r}; its rooms are {', '.join(ROOMS)}")


def __dir__():
    return sorted([*globals(), *ROOMS])
