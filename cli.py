"""What every verb shares: flags, messages and exit codes, the start-up check, joining a multi-process run."""

import contextlib
import errno
import logging
import os
import pathlib
import re
import runpy
import sys
import warnings

from absl import flags

from cloze import options, storage
from cloze.errors import ConfigError, ProcessLost, UserError, WriteError
from cloze.options import suggest
from cloze.parallel import clusters, supervisor
from cloze.value_types import MOUNT

# 3 hides what 2 still shows: a page of false errors for each CPU program that comes from the compile cache. It is set
# here because some verbs import JAX at their top, behind this file, and JAX would set 1.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
FLAGS = flags.FLAGS
VERBS = ("train", "eval", "generate", "prepare", "convert", "plan", "launch", "sweep", "report", "analyze")
CHOICES = r"--?(config\.(objective\.name|optimizer\.name|finetune\.method)|job\.backend)="
PLACES = ("workdir", "source", "target", "base", "files", "prompts", "output", "sweep")  # flags of files and folders
# What no option or flag can name as a place; other errors of files are refusals to write (storage) or bugs of ours.
NO_PLACE = (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
PAGES = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")  # of Linux
NO_READER = 141  # what reads our lines has ended, as `head` does; the code of a shell for SIGPIPE
HUGE_PAGES = "glibc.malloc.hugetlb=1"
HERE = pathlib.Path(__file__).resolve().parent  # holds configs/, in a checkout and in an installation


def command():
    """The console command: `cloze train --config=...` is `python train.py --config=...` from any folder."""
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb in ("--help", "-h", "help"):
        print(f"cloze {'|'.join(VERBS)} --flag=value ...; cloze VERB --help says more")
        return
    if verb not in VERBS:
        print(f"cloze: unknown verb {verb!r}{suggest(verb, VERBS)}; known: {', '.join(VERBS)}", file=sys.stderr)
        sys.exit(ConfigError.exit_code)
    sys.argv = [f"cloze {verb}", *arguments]
    runpy.run_module(f"cloze.{verb}", run_name="__main__", alter_sys=True)


def define_place_flags(coordinator="HOST:PORT of the first process of a multi-process run."):
    """Flags that say which of several processes this is; under Slurm, on Cloud TPU and GKE the environment does.

    Args:
        coordinator: what --coordinator is for.
    """
    flags.DEFINE_string("coordinator", "", coordinator)
    flags.DEFINE_integer("num_processes", 0, "Number of processes of a multi-process run.")
    flags.DEFINE_integer("process_id", -1, "Number of this process, from 0.")


def define_process_flags():
    """Flags of a run whose processes compute together; on Cloud TPU, GKE and Slurm JAX finds the places by itself."""
    define_place_flags()
    flags.DEFINE_integer(
        "start_timeout", 300, "Seconds for which the processes wait for each other at the start.", lower_bound=1
    )
    flags.DEFINE_integer(
        "heartbeat_timeout", 30, "Seconds after which a process that does not answer counts as lost.", lower_bound=1
    )
    flags.DEFINE_integer(
        "shutdown_timeout", 30, "Seconds for which the processes wait for each other at the end.", lower_bound=1
    )


def define_options(cls):
    """Flags for all options of a class; one that is not given has no value, and `given` leaves it out."""
    plain = {int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string, bool: flags.DEFINE_bool}
    several = {int: flags.DEFINE_multi_integer, str: flags.DEFINE_multi_string}
    for name, field in options.declared(cls).items():
        said, kind = field.metadata["option"], options.kind(cls, name)
        comment = said.comment + ("" if field.default in (None, ()) else f"; default: {field.default}")
        if said.choices:
            flags.DEFINE_enum(name, None, said.choices, comment)
        elif kind is tuple:
            several[options.item_kind(cls, name)](name, None, f"{comment}; may be given several times")
        else:
            plain[kind](name, None, comment)


def given(cls):
    """{name: value} of the options of a class that the command line gives; `options.check` is the caller's."""
    found = {name: FLAGS[name].value for name in options.declared(cls) if FLAGS[name].value is not None}
    found = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    return found


def run(main, usage, required=()):
    """Parses the command line, runs `main()`, and ends the process with the right exit code.

    Args:
        main: the verb's function.
        usage: what --help says first, with an example.
        required: names of flags that must be given.
    """
    _take_huge_pages()
    supervisor.end_with_starter()
    sys.modules["__main__"].__doc__ = usage
    _quiet()
    try:
        _run(main, required)
    except Exception as error:  # a bug of ours
        if who := _who():
            error.add_note(f"This was {who}.")
        raise


def _run(main, required):
    try:
        _parse(required)
        if _one_of_several():
            supervisor.supervise()
        main()
    except UserError as error:
        _refuse(error)
    except BrokenPipeError:
        os._exit(NO_READER)
    except OSError as error:
        refused = _refused(error)
        if refused is None:
            raise
        _refuse(refused)
    except (RuntimeError, ValueError) as error:
        lost = _lost(error)
        if lost is None:
            raise
        _refuse(lost)
    except KeyboardInterrupt:
        print(f"{_program()}: interrupted", file=sys.stderr)
        _exit(130)
    _exit(0)


def _refuse(error):
    who = f" ({_who()})" if _who() else ""
    print(f"{_program()}{who}: {error}", file=sys.stderr)
    # At once: an orderly end would wait for the other process, or for threads of Orbax that wait for one that failed.
    if isinstance(error, (ProcessLost, WriteError)):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(error.exit_code)
    _exit(error.exit_code)


def _refused(error):
    """The message for what the machine refuses, wherever a path leads; None: the error is a bug."""
    if error.filename is not None and error.errno in NO_PLACE:
        return ConfigError(f"cannot use {error.filename}: {error.strerror}; name another place")
    return storage.write_error(error)


def _lost(error):
    if "jax" not in sys.modules or "coordinator" not in FLAGS:
        return None
    from cloze.parallel.processes import lost

    return lost(error)


def _parse(required):
    if any(argument in ("--help", "-h", "-help", "--helpfull") for argument in sys.argv[1:]):
        print(sys.modules["__main__"].__doc__)
        print("flags:")
        print(FLAGS.main_module_help())
        print(FLAGS.module_help(sys.modules[__name__]))
        _exit(0)
    for argument in sys.argv[1:]:
        if not argument.isascii() and re.search("[\ud800-\udfff]", argument):  # bytes that Python could not decode
            name, equals, value = argument.rpartition("=")
            raise ConfigError(
                f"{ascii(name)[1:-1]}{equals}{ascii(value)} is not UTF-8: set your terminal or script to UTF-8"
            )
    sys.argv[1:] = _in_order(sys.argv[1:])
    with _reading():
        rest = FLAGS(sys.argv)
    if len(rest) > 1:
        raise ConfigError(f"unexpected argument {rest[1]!r}; options are written --name=value (see --help)")
    for name in required:
        if not FLAGS[name].value:
            raise ConfigError(f"--{name} is required (see --help)")
    for name in filter(FLAGS.__contains__, PLACES):
        value = FLAGS[name].value or ""
        for place in [value] if isinstance(value, str) else value:
            if "://" in place:
                raise ConfigError(f"--{name}={place} must be a path; {MOUNT}")
    if "config" in FLAGS and FLAGS.config is not None:
        _check_config_file(FLAGS["config"].config_filename.partition(":")[0])


def _in_order(arguments):
    """Arguments with the config files of Cloze in place, as `choices_first` orders them."""
    return choices_first([_with_own_config(argument) for argument in arguments])


@contextlib.contextmanager
def _reading():
    """Around what parses flags: what they and a config file raise becomes a message for the user."""
    try:
        with options.choosing():
            yield
    except flags.Error as error:
        raise ConfigError(f"{error} (see --help)") from None
    except (AttributeError, TypeError, ValueError, KeyError, ImportError, SyntaxError, OSError) as error:
        absent = isinstance(error, (AttributeError, KeyError))  # as ml_collections has it, a name without a sentence
        hint = "; if that is an option, there is none of this name (--describe lists all)" if absent else ""
        raise ConfigError(f"cannot read the configuration: {error}{hint}") from error


def read_config(arguments):
    """The configuration that flags of train.py give, --config=... and --config.OPTION=..., beside those of this verb.

    Raises:
        ConfigError: as train.py refuses them; what `training.resolve.checked` refuses is left to it.
    """
    from ml_collections import config_flags

    arguments, values = ["train.py", *_in_order(arguments)], flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "Config file.", flag_values=values, sys_argv=arguments)
    with _reading():
        values(arguments)
    _check_config_file(values["config"].config_filename.partition(":")[0])
    with _reading():
        return values["config"].value


def local_program(verb, checkout):
    """How Python runs a verb on machines that see the disks of this one.

    Args:
        verb: "train".
        checkout: of Cloze; "": it is installed.
    """
    if not checkout:
        return ("-m", f"cloze.{verb}")
    return (f"{verb}.py" if pathlib.Path.cwd() == HERE else str(HERE / f"{verb}.py"),)


def checkout():
    """The checkout of Cloze that runs, "" where it is installed."""
    return str(HERE) if (HERE / "setup.py").is_file() else ""


def _check_config_file(path):
    """config_flags puts off the error of a missing file until the configuration is used."""
    if pathlib.Path(path).is_file():
        return
    files = (HERE / "configs").rglob("*.py")
    known = sorted(str(file.relative_to(HERE)) for file in files if "def get_config" in file.read_text())
    raise ConfigError(f"there is no config file {path}{suggest(path, known)}; configs of Cloze: {', '.join(known)}")


def _with_own_config(argument):
    """A --config=configs/NAME.py that is not there names the file of that name that comes with Cloze."""
    given = re.fullmatch(r"(--?config=)(configs/[^:]*)(.*)", argument)
    if given is None or pathlib.Path(given[2]).is_file() or not (HERE / given[2]).is_file():
        return argument
    return f"{given[1]}{HERE / given[2]}{given[3]}"


def choices_first(arguments):
    """--config=, and the flags that choose a class, such as an objective, before those that set its options."""
    if not any(re.match(r"--?(config|job\.backend)=", argument) for argument in arguments):
        return arguments

    def place(argument):
        return 0 if re.match("--?config=", argument) else 1 if re.match(CHOICES, argument) else 2

    return sorted(arguments, key=place)


def _program():
    return pathlib.Path(sys.argv[0]).name


def _who():
    """ "process 1 of 4", or "" where there is one, or none knows its number yet."""
    found = None
    if _coordinated():
        found = FLAGS.process_id, FLAGS.num_processes
    elif _joins():
        found = clusters.place_by_environment()
        if "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized():
            found = sys.modules["jax"].process_index(), sys.modules["jax"].process_count()
    return f"process {found[0]} of {found[1]}" if found else ""


def _exit(code):
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        os._exit(NO_READER)
    sys.exit(code)


def _take_huge_pages():
    """Begins anew with a malloc that asks for huge pages, which no process can switch on once it runs.

    XLA takes the memory of a step anew in each step on a CPU, and the kernel then fills it page by page: 7% of a GPT-2
    step with pages of 4 KiB. GLIBC_TUNABLES=glibc.malloc.hugetlb=0 keeps these.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc.hugetlb" in tunables or not PAGES.is_file() or "[madvise]" not in PAGES.read_text():
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, [tunables, HUGE_PAGES]))
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _quiet():
    """Libraries' start-up chatter is not for our users."""
    for name in ("absl", "asyncio"):  # Orbax logs each error in each of its threads, and raises it as well
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    sys.unraisablehook = _unraisable


def _unraisable(error):
    """As Python does, but for threads of tensorstore: after a failed save they call an event loop that is gone."""
    if not (isinstance(error.exc_value, RuntimeError) and str(error.exc_value) == "Event loop is closed"):
        sys.__unraisablehook__(error)


def start_jax(compile_cache=""):
    """Joins a multi-process run if there is one, checks that the backend computes rightly, sets the compile cache.

    Args:
        compile_cache: directory for compiled programs, or an address that JAX reads (gs://), or "".
    """
    if _one_of_several():
        from cloze.parallel import joining

        given = (FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id) if _coordinated() else None
        joining.join(joining.Place(*given) if given else None, FLAGS.start_timeout, **_timeouts())
        _silence_all_but_the_first()
    from cloze.parallel import compile_cache as compiled
    from cloze.parallel.self_check import check_backend

    if compile_cache:
        compiled.keep(compile_cache)

    check_backend()


def _timeouts():
    return {
        "heartbeat_timeout_seconds": FLAGS.heartbeat_timeout,
        "shutdown_timeout_seconds": FLAGS.shutdown_timeout,
    }


def _silence_all_but_the_first():
    """What is printed is printed once; errors come from all processes."""
    import jax

    if jax.process_index():
        sys.stdout.flush()
        sys.stdout = open(os.devnull, "w")


def _joins():
    """Whether this verb computes together with other processes of it; converting and preparing do not."""
    return FLAGS.is_parsed() and "start_timeout" in FLAGS


def process_label():
    """What lines of one of several processes begin with, such as "[process 0 of 4] "; "" of one that is alone.

    Raises:
        ConfigError: flags that do not say which of them this is.
    """
    if _coordinated():
        number, count = FLAGS.process_id, FLAGS.num_processes
        if not 0 <= number < count:
            raise ConfigError("one of several processes needs --num_processes=N and --process_id=I with 0 <= I < N")
    elif place := clusters.place_by_environment():
        number, count = place
    else:
        index = os.environ.get("JOB_COMPLETION_INDEX")  # of a Kubernetes job, which does not say how many there are
        return "" if index is None else f"[process {index}] "
    return f"[process {number} of {count}] " if count > 1 else ""


def _one_of_several():
    return _joins() and (_coordinated() or clusters.is_managed())


def _coordinated():
    """Whether flags say that this is one of several processes."""
    known = FLAGS.is_parsed() and "coordinator" in FLAGS
    return known and bool(FLAGS.coordinator or FLAGS.num_processes or FLAGS.process_id >= 0)


class Log:
    """Prints lines and appends them to a file; silent in all processes but the first.

    Args:
        path: the file, or None.
        active: whether this process speaks.
    """

    def __init__(self, path=None, active=True):
        self._active = active
        self._file = storage.Appender(path) if path is not None and active else None

    def __call__(self, line):
        if self._active:
            print(line, flush=True)
        if self._file is not None:
            self._file.write(line + "\n")
