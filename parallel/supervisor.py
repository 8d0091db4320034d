"""A process of a multi-process run lives under a parent that sees how it ends.

Where another process is lost, threads of jaxlib report it in lines of their own, and one may notice first and abort the
process that it is in: no Python runs any more. The parent says what happened in one message, and ends with 75.
"""

import contextlib
import ctypes
import os
import re
import signal
import sys
import threading

from cloze.errors import ProcessLost

_HANDED_ON = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
# The first line of what jaxlib reports of a lost process, or of what ends this one; and its first words on the cause.
_REPORT = re.compile(rb"^F\d{4} |^E\d{4} .*coordination|^terminate called")
_LOST = re.compile(rb"JAX distributed service")
_CAUSE = re.compile(rb"absl::Status: (.*)")
_PR_SET_PDEATHSIG = 1  # of Linux' prctl
STARTED_BY = "CLOZE_STARTED_BY"  # in the environment: number of the process that has started this one


def process_lost(reason):
    """The message for the user where another process has ended; `reason` is what a library said of it."""
    return ProcessLost(
        "another process of this run has ended or does not answer (its own messages say why): start all processes "
        f"again, and they go on from the last checkpoint [{reason[:200]}]"
    )


def supervise():
    """Goes on in a child process; the parent hands signals on, and ends as the child does.

    Raises:
        ProcessLost: in the parent, where jaxlib aborted the child because another process is lost.
        SystemExit: in the parent, with the exit code of the child; 128 + the number of a signal that killed it.
    """
    if not hasattr(signal, "sigwaitinfo"):  # macOS
        return
    sys.stdout.flush()
    sys.stderr.flush()
    awaited = _HANDED_ON | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    parent, (read, write) = os.getpid(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)  # what Python says goes its own way
        os.dup2(write, 2)
        os.close(write)
        end_with(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    os.close(write)
    errors = _Errors(read)
    status = _await(child, awaited)
    report = errors.finish()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGABRT and _LOST.search(report):
        cause = _CAUSE.search(report)
        raise process_lost(cause[1].decode(errors="replace") if cause else "noticed by jaxlib")
    if code not in (0, ProcessLost.exit_code):
        os.write(2, report)
    if code < 0:
        print(f"this process was killed by signal {-code}, {signal.Signals(-code).name}", file=sys.stderr)
        code = 128 - code
    sys.exit(code)


def _await(child, awaited):
    """The status with which the child ends; signals that another process sends meanwhile reach it as well."""
    while True:
        received = signal.sigwaitinfo(awaited)
        if received.si_signo != signal.SIGCHLD:
            if received.si_code <= 0:  # a terminal sends its own to both
                os.kill(child, received.si_signo)
            continue
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status


def end_with(parent, number=signal.SIGKILL):
    """Has the kernel, where it is Linux, send this process a signal when its parent is killed.

    Args:
        parent: number of the process that is the parent; if it is so no more, this one ends at once.
        number: of the signal.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def end_with_starter():
    """Where a verb has started this process, as its environment says, this one is asked to stop when that is killed."""
    if (starter := os.environ.pop(STARTED_BY, None)) is not None:
        end_with(int(starter), signal.SIGTERM)


class _Errors:
    """Passes a pipe's lines on to standard error as they come, up to the first of a report."""

    def __init__(self, pipe):
        self._pipe, self._held = pipe, []
        self._thread = threading.Thread(target=self._pass_on, daemon=True)
        self._thread.start()

    def _pass_on(self):
        with os.fdopen(self._pipe, "rb") as lines:
            for line in lines:
                if self._held or _REPORT.search(line):
                    self._held.append(line)
                else:
                    os.write(2, line)

    def finish(self):
        """The report, or b""."""
        self._thread.join(timeout=5)  # a grandchild may hold the pipe open
        return b"".join(self._held)
