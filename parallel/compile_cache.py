"""Compiled programs kept between runs, so that the same command starts in a fraction of the time."""

import functools
import hashlib
import os
import pathlib
import platform

import jax

CPU_INFO = pathlib.Path("/proc/cpuinfo")  # of Linux
LEAST_SECONDS = 0.3  # programs that compile faster are not kept: reading them back saves little


def keep(directory):
    """Has JAX keep what it compiles below `directory`, and look there before it compiles.

    A program is found by its text, the versions of JAX and XLA, their flags and the kind of device. Machine code for a
    CPU holds the instructions of that CPU, which JAX's names of entries do not: kinds of machine have folders of their
    own, so that a home directory may be shared by several. An entry that cannot be read is compiled anew.

    Args:
        directory: str or path, made when the first program is kept; `~` is the home directory.
    """
    jax.config.update("jax_compilation_cache_dir", os.path.join(os.path.expanduser(directory), machine()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)


@functools.cache
def machine():
    """What tells kinds of CPU apart: the architecture and a digest of its instruction sets (16 hex digits)."""
    told = CPU_INFO.read_text(errors="replace").splitlines() if CPU_INFO.is_file() else []
    # x86 calls the line "flags", Arm "Features"; all cores have the same.
    sets = next((line for line in told if line.lower().startswith(("flags", "features"))), platform.processor())
    return f"{platform.machine()}-{hashlib.sha256(' '.join(sorted(sets.split())).encode()).hexdigest()[:16]}"
