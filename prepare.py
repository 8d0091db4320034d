"""Trains the tokenizer and prepares the data of a configuration, once, so that training starts at once.

    python prepare.py --config=configs/gpt2.py:data=wikipedia

What is finished stays in data.cache_dir; the same command again goes on where it stopped. Started several times at once
on one cache, on any machines, it shares the work, and the result is the same to the bit. --num_processes=N and
--process_id=I, or Slurm's and Kubernetes' own variables, say whose lines are whose; no --coordinator is needed.
"""

from ml_collections import config_flags

from cloze import cli

REQUIRED = ("config",)  # flags

cli.define_place_flags(coordinator="Not needed here; taken so that all verbs are started alike.")
CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, and after a colon its arguments.")


def main():
    """Opens the batches of both splits, which prepares whatever is missing."""
    import jax

    from cloze import objectives
    from cloze.parallel import mesh as meshes
    from cloze.training import methods, resolve
    from cloze.training.run import open_data

    label = cli.process_label()

    def report(line):
        print(f"{label}{line}", flush=True)

    config = resolve.resolve(CONFIG.value)
    methods.check(config)
    objectives.check(config)
    tokenizer = resolve.open_tokenizer(config, report=report)
    objective = objectives.build(config, tokenizer.tables, methods.model_config(config))
    mesh = meshes.make_mesh(dict.fromkeys(meshes.MESH_AXES, 1), jax.devices()[:1])  # that of the run may be larger
    for split, opened in open_data(config, tokenizer, objective, mesh, report).items():
        report(f"{split}: {opened.description}")
        for source in opened.sources:
            report(f"  in {source.directory}")


if __name__ == "__main__":
    cli.run(main, __doc__, required=REQUIRED)
