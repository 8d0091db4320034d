"""Trains the tokenizer and prepares the data of a configuration, once, so that training starts at once.

    python prepare.py --config=configs/gpt2_small.py:data=wikipedia

What is finished stays in data.cache_dir; the same command again goes on where it stopped.
"""

from ml_collections import config_flags

import cli

CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, and after a colon its arguments.")


def main():
    """Opens the batches of both splits, which prepares whatever is missing."""
    import data.pipeline
    import objectives
    import tasks
    from training import methods, resolve

    config = resolve.resolve(CONFIG.value)
    tokenizer = resolve.open_tokenizer(config)
    objective = objectives.build(config, tokenizer.tables, methods.model_config(config))
    read = tasks.read_by(config, objective.rows)
    for split in ("train", "validation"):
        opened = data.pipeline.open_batches(config, tokenizer, objective.rows, split, read)
        print(f"{split}: {opened.description}")
        for corpus in opened.corpora:
            print(f"  in {corpus.directory}")


if __name__ == "__main__":
    cli.run(main, __doc__, required=("config",))
