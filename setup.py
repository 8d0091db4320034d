"""Installs Cloze: `pip install -e .` for work in the checkout, extras for what not everyone needs.

Everything is put under the one name `cloze`. The rooms lie at the top of the checkout, and so do the verbs.
"""

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOMS = [
    "analysis",
    "configs",
    "data",
    "decoding",
    "interop",
    "launchers",
    "laws",
    "models",
    "objectives",
    "parallel",
    "reports",
    "sweeps",
    "tasks",
    "training",
]
FOLDERS = find_packages(include=[*ROOMS, *(f"{room}.*" for room in ROOMS)])
PACKAGES = ["cloze", *(f"cloze.{name}" for name in FOLDERS)]
MODULES = [
    "cli",
    "errors",
    "options",
    "registry",
    "storage",
    "value_types",
    "train",
    "prepare",
    "eval",
    "generate",
    "convert",
    "plan",
    "launch",
    "sweep",
    "report",
    "analyze",
]  # files at the top of the checkout


class BuildWithVerbs(build_py):
    """Adds the files at the top of the checkout to the package `cloze`."""

    def find_package_modules(self, package, package_dir):
        found = super().find_package_modules(package, package_dir)
        return [*found, *((package, name, f"{name}.py") for name in MODULES)] if package == "cloze" else found


setup(
    name="cloze",
    version="0.1.0",
    description="Pretraining of BERT-, GPT- and T5-style language models in JAX and Flax",
    python_requires=">=3.11",
    packages=PACKAGES,
    package_dir={name: name.removeprefix("cloze.").replace(".", "/") for name in PACKAGES},
    cmdclass={"build_py": BuildWithVerbs},
    entry_points={"console_scripts": ["cloze = cloze.cli:command"]},
    install_requires=[
        # 0.10.2 computes wrongly on CPU (jax issue 39103); it and 0.11.0 crash. See parallel/self_check.py.
        "jax>=0.10.1,!=0.10.2,!=0.11.0,<0.13",
        "ml_dtypes",  # bfloat16 in files
        "flax>=0.12.8",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12.8,<0.13",
        "grain>=0.2.18",
        "array_record>=0.8",
        "tensorflow-datasets>=4.9.10",
        "pyarrow>=16",
        "fsspec",  # sources at addresses such as gs://, with gcsfs or s3fs beside it
        "jinja2>=3.1",  # chat templates
        "importlib_resources",  # tensorflow-datasets needs it to prepare anything, and does not say so
        "sentencepiece>=0.2.1",
        "tokenizers>=0.22",
        "ml-collections>=1.1",
        "absl-py",
        "protobuf",  # sentencepiece models are read as protocol buffers
        "numpy",
        "scipy",
        "dp-accounting>=0.6",
        "scikit-learn>=1.5",
        "threadpoolctl>=3.1",  # holds the threads of BLAS to one
        "seqeval>=1.2.2",
        "rouge-score>=0.1.2",
        "sacrebleu>=2.4",
        "tensorboardX>=2.6",
        "pyyaml>=6",  # what launchers write
    ],
    extras_require={
        "test": ["pytest>=8", "pytest-xdist>=3.8", "hypothesis>=6", "ruff>=0.14", "safetensors>=0.6", "setuptools>=68"],
        # torch's CPU build; a plain "torch" would bring gigabytes of CUDA.
        "parity": [
            "torch==2.13.0",
            "transformers>=5.0",
            "peft>=0.18",
            "sentence-transformers>=5.0",
            "minicons>=0.3.39",
        ],
        "eval": ["lm-eval>=0.4.9"],
        "gpu": ["jax[cuda13]>=0.10.1,!=0.10.2,!=0.11.0,<0.13"],
        "tpu": ["jax[tpu]>=0.10.1,!=0.10.2,!=0.11.0,<0.13"],
        "plan": ["jax[tpu]>=0.10.1,!=0.10.2,!=0.11.0,<0.13", "matplotlib"],  # libtpu compiles for TPUs without one
        "plots": ["matplotlib"],
        "viz": ["matplotlib", "tensorboard"],
    },
)
