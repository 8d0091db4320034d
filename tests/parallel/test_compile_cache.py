"""Compiled programs that are kept between runs."""

import jax
import jax.numpy as jnp
import pytest

from cloze.parallel import compile_cache

X86 = "processor : 0\nflags\t\t: fpu sse2 avx2{more}\n\nprocessor : 1\nflags\t\t: fpu sse2 avx2{more}\n"


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The directory where compiled programs are kept, whatever they cost."""
    from jax._src import compilation_cache  # JAX opens its cache once; nothing public closes it

    options = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in options}
    monkeypatch.setattr(compile_cache, "LEAST_SECONDS", 0.0)
    compilation_cache.reset_cache()
    compile_cache.keep(tmp_path)
    yield tmp_path / compile_cache.machine()
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def squares():
    """What a program gives that is traced and compiled, or read, anew."""
    return float(jax.jit(lambda x: jnp.sin(x * x).sum())(jnp.arange(7.0)))


def test_a_program_is_kept_and_damage_to_it_changes_no_result(kept):
    value = squares()
    entries = [path for path in kept.iterdir() if path.name.endswith("-cache") and "lambda" in path.name]
    assert len(entries) == 1
    assert squares() == value
    whole = entries[0].read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-40] + bytes(byte ^ 255 for byte in whole[-40:])):
        entries[0].write_bytes(damaged)
        with pytest.warns(UserWarning, match="Error reading persistent compilation cache"):
            assert squares() == value


def test_machines_with_other_instructions_share_no_programs(tmp_path, monkeypatch):
    names = []
    for number, more in enumerate(("", " avx512f", "")):
        file = tmp_path / str(number)
        file.write_text(X86.format(more=more))
        monkeypatch.setattr(compile_cache, "CPU_INFO", file)
        names.append(compile_cache.machine.__wrapped__())
    assert names[0] == names[2] != names[1]
    monkeypatch.setattr(compile_cache, "CPU_INFO", tmp_path / "none")
    assert compile_cache.machine.__wrapped__()
