"""Sides of a comparison: each in a process of its own, of which one computes at a time."""

import json
import os
import resource
import subprocess
import sys

from absl import flags

from cloze import cli

SIDE = flags.DEFINE_string("side", "", "Of a child process.")
EXCHANGE = flags.DEFINE_string("exchange", "", "Directory that the sides share.")


def serve(side, facts, changing=()):
    """A child: says what it knows, and answers "run N" and "rate" line by line.

    Args:
        side: `run(n)` gives seconds of steps, `rate()` FLOP/s of a matrix product.
        facts: names of its attributes that are said at once, where it has them.
        changing: those that are said after each run.
    """

    def known(names):
        return {name: getattr(side, name) for name in names if hasattr(side, name)}

    say(known(facts))
    for line in sys.stdin:
        word, _, count = line.strip().partition(" ")
        if word == "rate":
            say({"rate": side.rate()})
            continue
        took = side.run(int(count))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        say({"took": took, "peak": peak, **known(changing)})


def say(values):
    """A child's answer."""
    print("@" + json.dumps(values), flush=True)


class Child:
    """A process of one side.

    Args:
        module: the benchmark's, which is run again.
        side: its name.
        exchange: directory that the sides share.
        arguments: further flags.
        peer: whether it is PyTorch's, which has what its users have; ours has the pages that every verb takes.

    Attributes:
        facts: what it said at first.
        took: seconds of steps.
        rates: FLOP/s of matrix products.
        last: its last answer to `run`: "peak", bytes of memory, and more.
    """

    def __init__(self, module, side, exchange, arguments=(), *, peer):
        command = [sys.executable, "-m", module, f"--side={side}", f"--exchange={exchange}", *arguments]
        environment = None if peer else {**os.environ, "GLIBC_TUNABLES": cli.HUGE_PAGES}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )  # fmt: skip
        self.facts, self.took, self.rates, self.last = self._listen(), [], [], {}

    def _listen(self):
        for line in self._process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        raise SystemExit("a side has ended; see above")

    def run(self, count, before=0):
        """Has it take some steps and keeps the seconds; those `before` them, after others have computed, do not count.

        In the first steps of a turn a side gets back the memory that it had given away, which training in one go does
        not do.
        """
        if before:
            self.ask(f"run {before}")
        self.last = self.ask(f"run {count}")
        self.took += self.last["took"]

    def measure(self):
        """Has it measure the rate of a matrix product."""
        self.rates.append(self.ask("rate")["rate"])

    def ask(self, line):
        """Its answer to a line."""
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._listen()

    def close(self):
        """Ends it."""
        self._process.stdin.close()
        self._process.wait()
