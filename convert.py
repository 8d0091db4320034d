"""Turns runs into directories of Hugging Face and back, and finetuned runs into ordinary ones.

    python convert.py from_hf --source=bert-base-uncased/ --workdir=runs/bert
    python convert.py to_hf --workdir=runs/bert --target=my-bert/
    python convert.py to_sentence_transformers --workdir=runs/embed --target=my-vectors/
    python convert.py merge --workdir=runs/lora --target=runs/merged
    python convert.py to_peft --workdir=runs/lora --target=my-lora/
    python convert.py from_peft --source=my-lora/ --base=runs/bert --workdir=runs/new
    python convert.py average --workdir=runs/bert --steps=8000,9000,10000 --target=runs/mean
    python convert.py branch --workdir=runs/bert --steps=8000 --target=runs/other

from_hf, to_hf: --source holds config.json, model.safetensors (or shards with their index) and the tokenizer's files;
nothing is downloaded. The --workdir that from_hf makes is one for every other verb, as far as the model has an
objective and a tokenizer: it holds config.json, tokenizer/, checkpoints/ with the parameters as step 0, convert.json
(what was read), and config.py, which trains on from there:

    python train.py --config=runs/bert/config.py --workdir=runs/bert --config.train.steps=1000

to_sentence_transformers: of a run of configs/finetune/embed.py, a directory that SentenceTransformer(...) reads.

merge: of any run, one that needs no other run and has no finetuning method: LoRA's products are in the kernels,
prefixes and prompts are computed, adapters are part of the model. to_peft, from_peft: LoRA's factors and the heads as
the peft package keeps them, adapter_config.json and adapter_model.safetensors; --base is what they adapt, a run or a
Hugging Face directory. average: a run with the means of the parameters of several checkpoints, as far as they are
kept (checkpoint.keep). branch: the run as it was after a step, optimizer and all, to go on from there in another way,
for example with the decay of optimizer.schedule=wsd. --ema: to_hf, to_sentence_transformers, merge and to_peft take the
moving averages that train.ema_decay keeps. Exit codes: 0 done, 2 bad usage, 3 bad or missing data, 5 checkpoint
corrupt.
"""

import pathlib
import sys

from absl import flags

from cloze import cli

VERBS = {  # verb: the flags that it needs
    "from_hf": ("source", "workdir"),
    "to_hf": ("workdir", "target"),
    "to_sentence_transformers": ("workdir", "target"),
    "merge": ("workdir", "target"),
    "to_peft": ("workdir", "target"),
    "from_peft": ("source", "base", "workdir"),
    "average": ("workdir", "steps", "target"),
    "branch": ("workdir", "steps", "target"),
}

SOURCE = flags.DEFINE_string("source", "", "Directory to read: Hugging Face's (from_hf), peft's (from_peft).")
WORKDIR = flags.DEFINE_string("workdir", "", "Directory of a run: made by from_hf and from_peft, read by the others.")
TARGET = flags.DEFINE_string(
    "target",
    "",
    "Directory to make: Hugging Face's (to_hf), sentence-transformers' (to_sentence_transformers), a run's (merge, "
    "average, branch), peft's (to_peft).",
)
BASE = flags.DEFINE_string("base", "", "Run or Hugging Face directory that is adapted (from_peft).")
STEPS = flags.DEFINE_list("steps", [], "Steps of checkpoints (average), or one step (branch).")
EMA = flags.DEFINE_bool("ema", False, "Take the moving averages of the parameters that trained (train.ema_decay).")
DTYPE = flags.DEFINE_enum(
    "dtype",
    None,
    ["float32", "bfloat16", "float16"],
    "Of the files (to_hf, to_sentence_transformers); default: float32, or the source's until trained.",
)
CLASS_NAME = flags.DEFINE_string(
    "class_name",
    "",
    "Class of transformers to write (to_hf, to_peft) or that was adapted (from_peft); default: what fits the heads, "
    "the source's until trained, or what the directory says.",
)


def main(verb):
    """Runs one of the verbs."""
    from cloze.errors import ConfigError
    from cloze.options import suggest

    if verb not in VERBS:
        found = f"unknown verb {verb!r}{suggest(verb, VERBS) or ';'}" if verb else "a verb is missing;"
        raise ConfigError(f"{found} say convert.py with one of {', '.join(VERBS)} (see --help)")
    for name in VERBS[verb]:
        if not flags.FLAGS[name].value:
            raise ConfigError(f"convert.py {verb} needs --{name} (see --help)")
    cli.start_jax()
    from cloze.training import branching, hugging_face, merging, peft_files

    source, workdir, target, base = (
        pathlib.Path(flags.FLAGS[name].value).expanduser() for name in ("source", "workdir", "target", "base")
    )
    class_name = CLASS_NAME.value or None
    if verb == "from_hf":
        hugging_face.from_hf(source, workdir)
    elif verb == "to_hf":
        hugging_face.to_hf(workdir, target, DTYPE.value, class_name, ema=EMA.value)
    elif verb == "to_sentence_transformers":
        hugging_face.to_sentence_transformers(workdir, target, DTYPE.value, ema=EMA.value)
    elif verb == "merge":
        merging.merge(workdir, target, ema=EMA.value)
    elif verb == "to_peft":
        peft_files.to_peft(workdir, target, class_name, ema=EMA.value)
    elif verb == "average":
        branching.average(workdir, _steps(), target)
    elif verb == "branch":
        branching.branch(workdir, _steps()[-1], target)
    else:
        peft_files.from_peft(source, base, workdir, class_name)


def _steps():
    """The numbers in --steps."""
    from cloze.errors import ConfigError

    if not all(step.isdigit() for step in STEPS.value):
        raise ConfigError(f"--steps={','.join(STEPS.value)}: write numbers of steps, separated by commas")
    return [int(step) for step in STEPS.value]


if __name__ == "__main__":
    asked = sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else ""
    cli.run(lambda: main(asked), __doc__)
