"""Eight fake CPU devices, set before JAX opens its backend, so that sharding is tested on any machine.

Most of the time goes into compiling small programs: here the compiler does not optimise their machine code and, with a
jaxlib that has the switch, leaves out its slowest generator of it (a training step: 1.4 s in place of 4.4).
"""

import gc
import os
import shutil
import tempfile

from tests.verbs import FAST

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 {FAST}"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"  # verbs that are forked cannot begin anew to set it
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # as cli has it for users; JAX would set 1, which verbs would inherit
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"  # nobody reads where in our code an instruction began
OWN_CACHE = "CLOZE_TESTS_COMPILED"


def pytest_configure():
    """Programs that several tests compile, in whichever process, are compiled once."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ[OWN_CACHE] = tempfile.mkdtemp(prefix="cloze-compiled-")


def pytest_unconfigure():
    """The process that made the directory removes it."""
    if "PYTEST_XDIST_WORKER" not in os.environ and OWN_CACHE in os.environ:
        shutil.rmtree(os.environ[OWN_CACHE], ignore_errors=True)


def pytest_collection_finish():
    """What was imported and collected stays: it is not searched for garbage again and again (a tenth of the time)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


# The longest first. They start processes, train, or compile much.
LONG = (
    "test_every_family.py", "test_verbs.py", "test_configs.py", "test_processes.py", "test_loop.py",
    "test_transformer.py", "test_methods.py", "test_private.py", "test_formats.py", "test_stages.py", "test_step.py",
    "test_alone.py", "test_initial.py", "test_sources.py", "test_convert_adapters.py", "test_sharding.py",
    "test_low_rank.py", "test_presets.py", "test_golden.py", "test_adapted.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """Files that take minutes come first, lest one worker be left alone with them at the end."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
