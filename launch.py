"""Starts a verb, such as train, on machines that a scheduler gives: Slurm, Kubernetes, SkyPilot or Cloud TPU VMs.

    python launch.py --job.backend=slurm --job.nodes=2 --job.gpus_per_node=8 \\
      --config=configs/bert_base.py:data=wikipedia --workdir=runs/bert --dry_run
    python launch.py --job.backend=jobset --job.accelerator=v5e --job.topology=4x4 --job.image=REGISTRY/cloze \\
      --job.claim=runs --workdir=/mnt/cloze/runs/bert --config=configs/bert_base.py \\
      --config.data.cache_dir=/mnt/cloze/cache
    python launch.py --job.backend=slurm --describe_job

--verb=sweep starts each run of a sweep (docs/sweeps.md) as a task of one job.

--dry_run prints the files and the command that submits them; without it they are written and submitted. --job.backend
is one of gcluster, jobset, skypilot, slurm, tpu_vm. All other flags are the verb's and go on to the job unchanged;
--coordinator and its like are found by the job. The configuration is checked first. docs/launching.md says what each
scheduler needs. Exit codes: 0 submitted, 2 bad usage, or the job was not taken.
"""

import dataclasses
import importlib
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

from absl import flags
from ml_collections import config_flags

from cloze import cli, options, storage
from cloze.errors import ConfigError
from cloze.launchers import LAUNCHERS, Job

VERBS = ("train", "prepare", "eval", "generate", "sweep")
OWN = re.compile(r"--?(job\.\w+|verb|launch_dir|(no)?dry_run|(no)?describe_job)(=.*)?", re.DOTALL)
SWITCHES = re.compile(r"--?(no)?(dry_run|describe_job)")
NAME = re.compile(r"[a-z]([-a-z0-9]{0,36}[a-z0-9])?")  # Kubernetes adds to it, and takes 63
GIVEN = sys.argv[1:]

SECTION = options.Choice("backend", "job", LAUNCHERS, "slurm")

with options.choosing():  # the flags are looked at as soon as the section is defined
    JOB = config_flags.DEFINE_config_dict("job", SECTION, "The scheduler and its options; see --describe_job.")
VERB = flags.DEFINE_enum("verb", "train", VERBS, "What the job runs.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the files and the command, and write and submit nothing.")
DESCRIBE = flags.DEFINE_bool("describe_job", False, "Print the options of --job.backend with their values, and end.")
LAUNCH_DIR = flags.DEFINE_string(
    "launch_dir", "", "Where the files go; default: launch/ in --workdir, or runs/launch/NAME where that is elsewhere."
)


def main():
    """Checks everything, makes the files, writes them and runs the command that submits them."""
    arguments = forwarded(GIVEN)
    launcher = chosen()
    if DESCRIBE.value:
        print("\n".join(options.describe(type(launcher), JOB.value, "job")))
        return
    job = described(launcher, arguments)
    if "config" in flags.FLAGS:
        check_config(launcher)
    plan, *_ = [launcher.plan(one) for one in jobs(job, launcher)]
    if "coordinator" not in flags.FLAGS and launcher.count_processes() > 1:
        raise ConfigError(f"{job.verb} runs in one process: ask for one machine, or one GPU, or a slice on one host")
    folder = launch_dir(launcher, job)
    if DRY_RUN.value:
        for name, text in plan.files.items():
            print(f"== {folder / name}\n{text}")
        print(f"It would be submitted, in {folder}, by\n  {shlex.join(plan.submit)}")
    else:
        submit(plan, folder)
    print(f"To watch the job:\n  {plan.watch}\nTo stop it for good:\n  {plan.stop}")


def chosen():
    """The launcher that the flags ask for."""
    if not any(re.match(r"--?job\.backend=", argument) for argument in GIVEN):
        raise ConfigError(f"--job.backend is required: one of {', '.join(LAUNCHERS)} (see --help)")
    options.check(JOB.value.chosen, JOB.value, "job")
    return JOB.value.chosen(**options.read(JOB.value.chosen, JOB.value))


def jobs(job, launcher):
    """The job, and the same with each other place that it writes to: all of them must outlive its machines."""
    if job.verb != "sweep":
        return [dataclasses.replace(job, workdir=one) for one in (job.workdir, *workdirs()[1:])]
    from cloze.sweeps import planned

    if not launcher.has_arrays:
        raise ConfigError("--verb=sweep starts a job for each run: use --job.backend=slurm or jobset")
    runs = planned.load(flags.FLAGS["sweep"].value)
    if any(run.bases for run in runs):
        raise ConfigError("runs of this sweep begin with other runs, which come first: start it with sweep.py")
    if launcher.shares_disks:
        planned.checked(runs, pathlib.Path(job.workdir))
    else:
        note_own_file(planned.find(flags.FLAGS["sweep"].value))
    caches = dict.fromkeys(cli.read_config(run.flags(pathlib.Path(job.workdir))).data.cache_dir for run in runs)
    return [dataclasses.replace(job, array=len(runs), cache=cache) for cache in caches]


def described(launcher, arguments):
    """The job, out of the flags; `arguments` are the verb's."""
    verb, values = VERB.value, flags.FLAGS
    for name in importlib.import_module(f"cloze.{verb}").REQUIRED:
        if not values[name].value:
            raise ConfigError(f"--{name} is required (see {verb}.py --help)")
    for name in ("coordinator", "num_processes", "process_id"):
        if name in values and values[name].present:
            raise ConfigError(f"--{name} is what the job finds itself: leave it out")
    workdir = workdirs()[0]
    if verb == "sweep" and not values["sweep"].value:
        raise ConfigError("--sweep is required (see sweep.py --help)")
    if verb in ("train", "sweep") and not workdir:
        if not launcher.shares_disks:
            raise ConfigError("--workdir is required: a folder of the job's shared storage (job.mount)")
        workdir = str(importlib.import_module(f"cloze.{verb}").default_workdir())
    name = launcher.name or default_name(verb, workdir)
    if not NAME.fullmatch(name):
        raise ConfigError(f"job.name={name!r} must be at most 38 of a to z, 0 to 9 and -, the first a letter")
    return Job(
        name=name,
        verb=verb,
        arguments=arguments,
        workdir=workdir,
        cache=values.config.data.cache_dir if "config" in values else "",
        local=(sys.executable, *cli.local_program(verb, cli.checkout()), *arguments),
        folder=str(pathlib.Path.cwd()),
        checkout=cli.checkout(),
    )


def workdirs():
    """[str], what --workdir names: of eval perhaps several, [""] of a verb or a command without one."""
    value = flags.FLAGS["workdir"].value if "workdir" in flags.FLAGS else ""
    return (value if isinstance(value, list) else [value]) or [""]


def forwarded(arguments):
    """The arguments that are the verb's."""
    for argument in arguments:
        if OWN.fullmatch(argument) and "=" not in argument and not SWITCHES.fullmatch(argument):
            raise ConfigError(f"write {argument}=VALUE, with a sign of equality")
    return tuple(argument for argument in arguments if not OWN.fullmatch(argument))


def default_name(verb, workdir):
    """A name for the job: of the run's folder, or of the configuration."""
    last = pathlib.Path(workdir).name
    if not last:
        path, _, arguments = flags.FLAGS["config"].config_filename.partition(":")
        last = f"{pathlib.Path(path).stem}-{arguments}"
    made = re.sub("[^a-z0-9]+", "-", (last if verb == "train" else f"{verb}-{last}").lower()).strip("-")
    return (made if re.match("[a-z]", made) else f"run-{made}")[:38].strip("-")


def check_config(launcher):
    """Refuses what the verb would refuse, as far as it can be seen from here."""
    from cloze.configs import base
    from cloze.training import resolve

    config, path = flags.FLAGS.config, flags.FLAGS["config"].config_filename.partition(":")[0]
    base.check(config)
    away = not launcher.shares_disks
    if away:
        note_own_file(path)
    if away and (config.init.checkpoint or config.task.name):
        print("Note: init.checkpoint and the task are looked at where the job runs, which refuses them if need be")
        return
    resolve.checked(config)


def note_own_file(path):
    """Says of a file that does not come with Cloze that the job reads it."""
    if not pathlib.Path(path).resolve().is_relative_to(cli.HERE):
        print(f"Note: {path} must be where the job runs, in its image or on the shared storage, under this name")


def launch_dir(launcher, job):
    """Where the files go."""
    if LAUNCH_DIR.value:
        return pathlib.Path(LAUNCH_DIR.value)
    if job.workdir and (launcher.shares_disks or pathlib.Path(launcher.mount).is_dir()):
        return pathlib.Path(job.workdir) / "launch"
    return pathlib.Path("runs") / "launch" / job.name


def submit(plan, folder):
    """Writes the files and runs the command.

    Raises:
        ConfigError: the command is not there, or has refused the job; the files are there all the same.
    """
    for name, text in plan.files.items():
        with storage.whole(folder / name) as partial:
            partial.write_text(text)
        print(f"Wrote {folder / name}", flush=True)
    by_hand = f"the files are in {folder}; to submit them by hand:\n  cd {shlex.quote(str(folder))}"
    by_hand += f" && {shlex.join(plan.submit)}"
    program = shutil.which(plan.submit[0])
    if program is None:
        raise ConfigError(f"there is no command {plan.submit[0]} on this machine (see docs/launching.md); {by_hand}")
    print(f"$ {shlex.join(plan.submit)}", flush=True)
    code = subprocess.run([program, *plan.submit[1:]], cwd=folder).returncode
    if code:
        raise ConfigError(f"{plan.submit[0]} has ended with exit code {code}, see above; {by_hand}")


def define_flags_of_verb():
    """The flags of the verb that is asked for are flags of this command as well."""
    asked = [argument.partition("=")[2] for argument in GIVEN if re.match("--?verb=", argument)]
    if not asked or asked[-1] in VERBS:
        importlib.import_module(f"cloze.{asked[-1] if asked else VERB.default}")


if __name__ == "__main__":
    define_flags_of_verb()
    cli.run(main, __doc__)
