"""The parent of a process says what ended it, and hands signals on."""

import signal
import subprocess
import sys

import pytest

BEGIN = """
import os, signal, sys, time
from cloze.errors import ProcessLost
from cloze.parallel.supervisor import supervise
try:
    supervise()
except ProcessLost as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
REPORT = """
os.write(2, b"I say this first\\n")
os.write(2, b"E1127 20:00:00.000000 123 coordination_service_agent.cc:289] Polled an error from others:\\nof mine\\n"
            b"F1127 20:00:00.000000 123 client.h:90] Terminating process because the JAX distributed service "
            b"detected fatal errors. absl::Status: UNAVAILABLE: Task 1 is gone.\\n"
            b"*** Check failure stack trace: ***\\n    @  0x7f\\n")
"""


def start(code):
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_an_abort_of_jaxlib_becomes_one_message_and_75():
    process = start(REPORT + "os.abort()")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    first, message = errors.splitlines()
    assert first == "I say this first" and "start all processes again" in message
    assert message.endswith("[UNAVAILABLE: Task 1 is gone.]")


@pytest.mark.parametrize(
    "code, exit_code, words",
    [
        ("print('done'); sys.exit(0)", 0, []),
        ("sys.exit(3)", 3, []),
        ("os.write(2, b'an error\\n'); sys.exit(1)", 1, ["an error"]),
        (
            "os.write(2, b'E1127 1 coordination_x.cc:1] of jaxlib\\n'); sys.stderr.write('mine'); sys.exit(75)",
            75,
            ["mine"],
        ),
        ("os.write(2, b'E1127 1 coordination_x.cc:1] lost\\n'); sys.exit(4)", 4, ["coordination_x"]),
        ("raise KeyError('mine')", 1, ["Traceback", "KeyError: 'mine'"]),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, ["killed by signal 9, SIGKILL"]),
        ("os.write(2, b'terminate called\\nwhat(): other\\n'); os.abort()", 134, ["what(): other", "SIGABRT"]),
    ],
)
def test_any_other_end_is_the_childs(code, exit_code, words):
    process = start(code)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == exit_code and all(word in errors for word in words), errors
    assert bool(errors) == bool(words) and not (exit_code == 75 and "coordination" in errors)
    assert output == ("done\n" if exit_code == 0 else "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_reaches_the_child_once(number):
    process = start(f"""
received = []
signal.signal({int(number)}, lambda *_: received.append(1))
print("ready", flush=True)
while not received:
    time.sleep(0.01)
time.sleep(0.2)
sys.exit(10 + len(received))
""")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 11


def test_a_killed_parent_takes_the_child_with_it():
    process = start("print(os.getpid(), flush=True); time.sleep(600)")
    process.stdout.readline()
    process.kill()
    output, _ = process.communicate(timeout=60)  # ends when no process holds the pipe
    assert output == ""
