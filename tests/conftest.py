"""Eight fake CPU devices, set before JAX opens its backend, so that sharding is tested on any machine.

Most of the time goes into compiling small programs: here the compiler does not optimise their machine code, and leaves
out its slowest generator of it (a training step: 1.4 s in place of 4.4).
"""

import os

from tests.verbs import FAST

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 {FAST}"
os.environ["JAX_PLATFORMS"] = "cpu"


# They start processes, or train.
LONG = (
    "test_processes.py", "test_verbs.py", "test_loop.py", "test_initial.py", "test_stages.py", "test_methods.py",
    "test_every_family.py", "test_convert_adapters.py", "test_private.py", "test_evaluation.py", "test_adapted.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """Files that take minutes come first, lest one worker be left alone with them at the end."""
    items.sort(key=lambda item: item.path.name not in LONG)
