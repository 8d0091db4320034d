"""What a launcher is: its options, and the files and the command that it makes of a job."""

import dataclasses
import pathlib
import shlex

from cloze.errors import ConfigError
from cloze.launchers import tpus
from cloze.options import Name, Path, option, suggest
from cloze.registry import Registry

LAUNCHERS = Registry("job.backend", __package__)
FINAL = (2, 3, 4, 5)  # exit codes that the same command would end with again, see errors.py
AGAIN = 75  # a run that has saved and goes on when its command is given again
PORT = 8482  # of the first process, for the others to meet at: JAX's on TPUs, whose own runtime has those below


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to run.

    Attributes:
        name: letters, digits and dashes, at most 38; what the scheduler calls it.
        verb: "train".
        arguments: flags of the verb, as the user gave them.
        workdir: value of --workdir, "" if the verb has none.
        cache: value of data.cache_dir, "" if the verb has no configuration.
        local: the command on machines that share the disks of this one.
        folder: where it is run, and what its relative paths start from.
        checkout: of Cloze, "" if this command is installed.
        array: how often the command is run, each time with the flag --index=I, from 0; 0: once, without it.
    """

    name: str
    verb: str
    arguments: tuple[str, ...]
    workdir: str
    cache: str = ""
    local: tuple[str, ...] = ()
    folder: str = ""
    checkout: str = ""
    array: int = 0

    @property
    def installed(self) -> tuple[str, ...]:
        """The command where Cloze is installed."""
        return ("cloze", self.verb, *self.arguments)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a launcher makes of a job.

    Attributes:
        files: {name: text}, all in one folder.
        submit: the command that submits them, to be run in that folder.
        watch: a command line that shows how the job goes.
        stop: a command line that ends it for good.
    """

    files: dict[str, str]
    submit: tuple[str, ...]
    watch: str
    stop: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launcher:
    """The options that all launchers have."""

    name: Name = option("", "what the scheduler calls the job; empty: as the configuration and its arguments")
    grace: int = option(
        120,
        "seconds between the signal to stop and the kill, in which a checkpoint must be written",
        least=1,
        most=86_400,
    )

    @property
    def shares_disks(self) -> bool:
        """Whether the job sees the disks of this machine, and Cloze as it is installed here."""
        return False

    @property
    def has_arrays(self) -> bool:
        """Whether it knows jobs with Job.array."""
        return False

    def count_processes(self) -> int:
        """How many processes the command runs in.

        Raises:
            ConfigError: as `plan`.
        """
        raise NotImplementedError

    def plan(self, job: Job) -> Plan:
        """The files and the command.

        Raises:
            ConfigError: options that do not go together.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Elsewhere(Launcher):
    """The options of launchers whose machines share no disk with this one."""

    mount: Path = option("/mnt/cloze", "where the shared storage is mounted; holds --workdir and data.cache_dir")

    def check_places(self, job: Job, storage: str, given: str) -> None:
        """Refuses a job whose results would be lost with its machines.

        Args:
            job: what is to run.
            storage: the option that names the shared storage.
            given: its value.

        Raises:
            ConfigError: there is no shared storage, or the run is not on it.
        """
        root = pathlib.PurePosixPath(self.mount)
        if not root.is_absolute() or root == pathlib.PurePosixPath("/"):
            raise ConfigError(f"job.mount={self.mount} must be a folder from the root on, such as /mnt/cloze")
        if not given:
            raise ConfigError(f"job.{storage} is required: storage that outlives the machines, mounted at {self.mount}")
        places = {"--workdir": (job.workdir, "runs/x"), "--config.data.cache_dir": (job.cache, "cache")}
        for flag, (place, example) in places.items():
            if place and not pathlib.PurePosixPath(place).is_relative_to(root):
                raise ConfigError(
                    f"{flag}={place} is lost with the machines of the job: name a folder of the shared storage, as in "
                    f"{flag}={root / example} (job.mount={self.mount})"
                )


@dataclasses.dataclass(frozen=True)
class Machines:
    """What a job runs on.

    Attributes:
        tpu: the slice, None for GPUs.
        gpu: what the scheduler calls the GPU, "" for TPUs.
        groups: number of slices; 1 for GPUs.
        hosts: hosts of a slice, or all hosts with GPUs.
        chips: TPU chips or GPUs of a host.
    """

    tpu: tpus.Slice | None
    gpu: str
    groups: int
    hosts: int
    chips: int

    @property
    def processes(self) -> int:
        """Of the run, one on each host."""
        return self.groups * self.hosts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accelerated(Elsewhere):
    """The options of launchers that have TPUs and GPUs."""

    accelerator: Name = option("", f"a TPU ({', '.join(tpus.GENERATIONS)}), or a GPU as the scheduler calls it")
    topology: Name = option("", "of TPUs: how the chips of a slice are arranged, 4x8 or 4x4x8")
    slices: int = option(1, "of TPUs: number of slices, between which the data-centre network is", least=1, most=4096)
    nodes: int = option(1, "of GPUs: number of machines", least=1, most=65_536)
    gpus_per_node: int = option(1, "of GPUs: number on each machine", least=1, most=64)

    @property
    def chips_of_host(self) -> int:
        """Chips of a TPU host, 0: what is usual."""
        return 0

    def machines(self) -> Machines:
        """What the options ask for.

        Raises:
            ConfigError: no such TPU or topology, or options of GPUs for TPUs and the other way round.
        """
        name = self.accelerator
        if not name:
            raise ConfigError(
                f"job.accelerator is required: a TPU ({', '.join(tpus.GENERATIONS)}) or the name of a GPU"
            )
        if name in tpus.GENERATIONS:
            self._refuse("a TPU, whose topology says how many hosts there are", nodes=1, gpus_per_node=1)
            found = self.find_slice()
            return Machines(found, "", self.slices, found.hosts, found.chips_per_host)
        hint = suggest(name, tpus.GENERATIONS)
        if hint and (name.lower().startswith(("tpu", "v")) or self.topology):
            tpus.find(name, self.topology)  # which refuses it
        self._refuse("taken for a GPU", topology="", slices=1)
        return Machines(None, name, 1, self.nodes, self.gpus_per_node)

    def count_processes(self) -> int:
        return self.machines().processes

    def find_slice(self) -> tpus.Slice:
        """The slice of TPUs."""
        return tpus.find(self.accelerator, self.topology, self.chips_of_host)

    def _refuse(self, why, **unset):
        for option_name, default in unset.items():
            if getattr(self, option_name) != default:
                raise ConfigError(
                    f"job.{option_name}={getattr(self, option_name)} does not go with "
                    f"job.accelerator={self.accelerator}, {why}: leave it out"
                )


def line(*words: str) -> str:
    """Words as one line of a shell."""
    return shlex.join(words)


def comment(text: str) -> str:
    """A text as lines of a comment, of YAML or a shell."""
    return "".join(f"# {part}".rstrip() + "\n" for part in text.splitlines())
