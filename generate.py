"""Fills the blanks of a prompt, or goes on from it, as the run has learned.

    python generate.py --workdir=runs/bert_base-tiny --prompt="Return the [MASK] of the array."
    python generate.py --workdir=runs/gpt2-tiny --prompt="Return the number of"

A masked language model fills blanks: each [MASK] is one piece of the vocabulary, and the most probable candidates are
printed for each. A decoder or an encoder-decoder writes: always the most probable next token, up to --max_tokens.
"""

from absl import flags

from cloze import cli

REQUIRED = ("workdir", "prompt")  # flags

WORKDIR = flags.DEFINE_string("workdir", "", "Directory of a run of train.py.")
PROMPT = flags.DEFINE_multi_string("prompt", [], "Text, with [MASK] to be filled; may be given several times.")
MAX_TOKENS = flags.DEFINE_integer("max_tokens", 64, "Tokens that are written at most.", lower_bound=1)
EMA = flags.DEFINE_bool("ema", False, "Take the moving averages of the parameters that trained (train.ema_decay).")
CANDIDATES = flags.DEFINE_integer("candidates", 5, "Candidates printed for each blank.", lower_bound=1)


def main():
    """Loads the run, and fills the blanks of every prompt or goes on from it."""
    cli.start_jax()

    from cloze.errors import ConfigError
    from cloze.training import restore

    trained = restore.load(WORKDIR.value, fills=True, ema=EMA.value)
    heads, architecture = trained.model.config.heads_out, trained.model.config.architecture
    if "mlm" in heads:
        print_filled(trained)
    elif "lm" in heads and architecture in ("decoder", "encoder_decoder"):
        print_written(trained)
    else:
        raise ConfigError(
            f"--workdir={WORKDIR.value} holds a model trained with objective.name={trained.config.objective.name}, "
            "which neither fills blanks nor writes; eval.py scores it on tasks"
        )


def print_written(trained):
    """Prints every prompt and what the model writes behind it."""
    from cloze.errors import ConfigError
    from cloze.training import evaluation

    writer = evaluation.writer(trained, batch_size=1)
    for prompt in PROMPT.value:
        if not writer.begins(prompt):
            raise ConfigError(f"--prompt={prompt!r}: the tokenizer leaves nothing of it; write text to go on from")
    for prompt in PROMPT.value:
        (text,) = writer.write([{"inputs": prompt, "targets": None}], MAX_TOKENS.value)
        print(f"\n{prompt}\n  {text}")


def print_filled(trained):
    """Prints the candidates for every blank, and the filled text."""
    from cloze.decoding.blanks import fill

    length = trained.config.data.sequence_length
    is_text = ~trained.tokenizer.tables.special & trained.tokenizer.has_piece
    for prompt in PROMPT.value:
        ids, blanks = encode(trained, prompt)
        answers = fill(
            trained.model, trained.params, ids, blanks, is_text, length=length, count=CANDIDATES.value
        )  # fmt: skip
        print(f"\n{prompt}")
        for number, candidates in enumerate(answers, 1):
            shown = "  ".join(f"{trained.tokenizer.piece(i)} {100 * p:.1f}%" for i, p in candidates)
            print(f"  blank {number}: {shown}")
        filled = ids.copy()
        filled[blanks] = [candidates[0][0] for candidates in answers]
        print(f"  {trained.tokenizer.decode(filled)}")


def encode(trained, prompt):
    """(ids int32 [T] with the tokenizer's frame around them, places of the blanks)."""
    import numpy as np

    from cloze.errors import ConfigError

    tables = trained.tokenizer.tables
    around = [[] if i is None else [i] for i in (tables.cls, tables.sep)]
    ids = np.concatenate([around[0], trained.tokenizer.encode_blanks(prompt), around[1]]).astype(np.int32)
    blanks = np.flatnonzero(ids == tables.mask)
    longest = trained.config.data.sequence_length
    if not len(blanks):
        mask = trained.tokenizer.piece(tables.mask)
        raise ConfigError(f"--prompt={prompt!r} has no blank: write {mask} where a piece is missing")
    if len(ids) > longest:
        raise ConfigError(f"--prompt has {len(ids)} pieces, more than the {longest} that the model was trained on")
    return ids, blanks


if __name__ == "__main__":
    cli.run(main, __doc__, required=REQUIRED)
