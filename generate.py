"""Fills the blanks of a prompt, or goes on from it, as the run has learned.

    python generate.py --workdir=runs/bert_base-tiny --prompt="Return the [MASK] of the array."
    python generate.py --workdir=runs/gpt2-tiny --prompt="Return the number of" --temperature=0.8 --top_p=0.95
    python generate.py --workdir=runs/t5 --prompts=questions.jsonl --output=answers.jsonl --beams=4
    python generate.py --workdir=runs/llama --chat

A masked language model fills blanks: each [MASK] is one piece of the vocabulary, or up to --pieces. The most probable
candidates are printed for each, and where there are several the best ways to fill all of them. A decoder or an
encoder-decoder writes, up to --max_tokens: the most probable token each time, or as the options say (docs/decoding.md);
a converted model as its generation_config.json says. T5 fills spans, <extra_id_0> and so on. Exit codes: 0 done, 2 bad
usage, 3 bad or missing data, 5 checkpoint corrupt.
"""

import json
import pathlib
import sys

from absl import flags

from cloze import cli
from cloze.decoding.options import DecodingOptions

REQUIRED = ("workdir",)  # flags

WORKDIR = flags.DEFINE_string("workdir", "", "Directory of a run of train.py.")
PROMPT = flags.DEFINE_multi_string("prompt", [], "Text, with [MASK] to be filled; may be given several times.")
PROMPTS = flags.DEFINE_string("prompts", "", 'File of prompts, one a line, or .jsonl: objects with "prompt".')
OUTPUT = flags.DEFINE_string("output", "", "File for the answers as JSON lines, which is not there yet.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Prompts that are run at once.", lower_bound=1)
STREAM = flags.DEFINE_bool("stream", False, "Print what is written token by token.")
CHAT = flags.DEFINE_bool("chat", False, "Talk with a model that was finetuned on turns, a line of input each.")
SYSTEM = flags.DEFINE_string("system", "", "What the model is told before a --chat.")
STEP = flags.DEFINE_string(
    "step", "newest", "Which checkpoint: newest, best (by the run's checkpoint.best), or the number of a step."
)
EMA = flags.DEFINE_bool("ema", False, "Take the moving averages of the parameters that trained (train.ema_decay).")
CANDIDATES = flags.DEFINE_integer("candidates", None, "Candidates printed for each blank; default: 5.", lower_bound=1)
PIECES = flags.DEFINE_integer("pieces", None, "Pieces that a blank may have; default: 1.", lower_bound=1, upper_bound=8)
cli.define_options(DecodingOptions)
cli.define_process_flags()


def main():
    """Loads the run, and fills the blanks of every prompt, goes on from it, or talks."""
    from cloze.errors import ConfigError

    given = cli.given(DecodingOptions)
    check_flags(given)

    import jax

    from cloze.parallel import mesh as meshes
    from cloze.training import generation, restore, runs

    config = runs.load_config(WORKDIR.value)
    cli.start_jax(config.train.compile_cache)
    if CHAT.value and jax.process_count() > 1:
        raise ConfigError("--chat reads what you type, which one process alone can: start one, or give --prompts")
    asked = [{"prompt": prompt} for prompt in PROMPT.value]
    asked += generation.read_prompts(PROMPTS.value) if PROMPTS.value else []
    mesh = meshes.mesh_for_reading(config.mesh, print)
    trained = restore.load(WORKDIR.value, fills=True, ema=EMA.value, which=STEP.value, mesh=mesh)
    heads, architecture = trained.model.config.heads_out, trained.model.config.architecture
    if "mlm" in heads:
        refuse_flags(
            [*given, *(f.name for f in (STREAM, CHAT, SYSTEM) if f.value)], "writing, and this model fills blanks"
        )
        fill(trained, asked)
    elif "lm" in heads and architecture in ("decoder", "encoder_decoder"):
        refuse_flags([f.name for f in (CANDIDATES, PIECES) if f.present], "filling blanks, and this model writes")
        write(trained, asked, given)
    else:
        raise ConfigError(
            f"--workdir={WORKDIR.value} holds a model trained with objective.name={trained.config.objective.name}, "
            "which neither fills blanks nor writes; eval.py scores it on tasks"
        )


def check_flags(given):
    """Refuses what does not go together, before anything is read."""
    from cloze import options
    from cloze.errors import ConfigError

    options.check(DecodingOptions, options.defaults(DecodingOptions) | given | {"beams": given.get("beams", 2)}, "--")
    if not (PROMPT.value or PROMPTS.value or CHAT.value):
        raise ConfigError("--prompt, --prompts or --chat is required (see --help)")
    if CHAT.value and (PROMPT.value or PROMPTS.value or OUTPUT.value):
        raise ConfigError("--chat reads what you type: leave out --prompt, --prompts and --output")
    if SYSTEM.value and not CHAT.value:
        raise ConfigError("--system is said before a --chat: add that, or leave it out")
    if (STREAM.value or CHAT.value) and given.get("beams", 1) > 1:
        shown = "--stream" if STREAM.value else "--chat"
        raise ConfigError(
            f"{shown} shows tokens as they are chosen, and a search by --beams only knows them at its end"
        )
    if STREAM.value and OUTPUT.value:
        raise ConfigError("--stream prints, --output writes a file: leave one of them out")
    if (STREAM.value or CHAT.value) and given.get("num_samples", 1) > 1:
        raise ConfigError(
            "--stream and --chat show one text at a time: leave out --num_samples, or give another --seed"
        )
    if OUTPUT.value and pathlib.Path(OUTPUT.value).exists():
        raise ConfigError(f"--output={OUTPUT.value} is there already: name another file, or remove it")


def refuse_flags(names, what):
    """Refuses flags that this model does not read."""
    from cloze.errors import ConfigError

    if names:
        raise ConfigError(f"{', '.join(f'--{name}' for name in names)}: of {what}; leave it out")


def write(trained, asked, given):
    """Prints every prompt and what the model writes behind it, or keeps it in --output."""
    from cloze.training import evaluation, generation

    size = 1 if STREAM.value or CHAT.value else min(BATCH_SIZE.value, len(asked))
    writer = evaluation.writer(trained, batch_size=size)
    said = generation.stated(writer)
    options = generation.decoding_options(given, said, trained.model.config.vocab_size)
    if shown := [f"{name}={value}" for name, value in said.items() if name not in given]:
        print(f"As the model's generation_config.json says: {', '.join(shown)}")
    if CHAT.value:
        talk(generation.Dialogue(writer, options, SYSTEM.value, trained.config.objective.name == "responses"))
        return
    prompts, progress = (
        generation.prompts_of(writer, [one["prompt"] for one in asked], options.max_tokens),
        generation.Progress(),
    )
    if STREAM.value:
        for one, ids in zip(asked, prompts, strict=True):
            print(f"\n{one['prompt']}\n  ", end="", flush=True)
            list(writer.answers([ids], options, lambda piece: print(piece, end="", flush=True)))
            print()
        return
    for one, answers in zip(asked, writer.answers(prompts, options), strict=True):
        found = [generation.described(writer, one["prompt"], answer) for answer in answers]
        progress.add(sum(answer["tokens"] for answer in found))
        if OUTPUT.value:
            keep([{**one, **({"sample": n} if len(found) > 1 else {}), **answer} for n, answer in enumerate(found)])
            progress.say(len(asked))
        else:
            print("\n".join(["", one["prompt"], *(f"  {answer['text']}" for answer in found)]))
    if PROMPTS.value or OUTPUT.value:
        progress.say(len(asked), last=True)


def talk(dialogue):
    """Answers every line of standard input, until it ends."""
    from cloze.errors import ConfigError

    if sys.stdin.isatty():
        print("An empty line ends the dialogue.")
    while True:
        print("> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line.strip():
            print()
            return
        try:
            dialogue.ask(line.strip(), lambda piece: print(piece, end="", flush=True))
        except ConfigError as error:
            print(error, end="")
        print()


def fill(trained, asked):
    """Prints the candidates for every blank and the filled text, or keeps them in --output."""
    from cloze.training import filling

    answers = filling.answers(
        trained, [one["prompt"] for one in asked], pieces=PIECES.value or 1, candidates=CANDIDATES.value or 5
    )
    for one, answer in zip(asked, answers, strict=True):
        if OUTPUT.value:
            keep([{**one, **answer}])
            continue
        print(f"\n{one['prompt']}")
        for number, candidates in enumerate(answer["blanks"], 1):
            print(f"  blank {number}: " + "  ".join(f"{piece} {100 * p:.1f}%" for piece, p in candidates))
        ways = answer.get("together", [])
        print("\n".join(f"  together: {way['score']:.2f}  {way['text']}" for way in ways) or f"  {answer['text']}")


def keep(lines):
    """Appends objects to --output; of several processes the first does."""
    from cloze.parallel.processes import decide

    def append():
        with open(OUTPUT.value, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

    decide(append)


if __name__ == "__main__":
    cli.run(main, __doc__, required=REQUIRED)
