"""Decisions that one process takes for all."""

import json
import re

import jax
import numpy as np
from jax.experimental import multihost_utils

from cloze import storage
from cloze.errors import UserError
from cloze.parallel.supervisor import process_lost

_BYTES = 8192
# What gloo, the coordination service and barriers say where another process does not answer any more.
_LOST = re.compile("gloo|heartbeat|barrier|coordination|connection (reset|closed)|preempted, or crashed", re.IGNORECASE)


def lost(error):
    """The message for the user where an error says that another process has ended; None: it is another error."""
    if jax.process_count() == 1 or not _LOST.search(str(error)):
        return None
    return process_lost(str(error).splitlines()[0])


def decide(function):
    """Runs `function` in the first process and gives its result, or its error for the user, to every process.

    What only one process can see, such as a lock, must not end that process alone: the others would wait for it
    until a time-out.

    Args:
        function: () -> a value that JSON can hold.

    Raises:
        UserError: what the function raised, in every process, with the same exit code.
    """
    if jax.process_count() == 1:
        return function()
    answer = {}
    if jax.process_index() == 0:
        try:
            answer = {"value": function()}
        except (UserError, OSError) as error:
            refused = storage.write_error(error) if isinstance(error, OSError) else error
            if refused is None:
                raise
            answer = {"error": str(refused)[: _BYTES // 8], "exit_code": refused.exit_code}
    buffer = np.zeros(_BYTES, np.uint8)
    text = json.dumps(answer).encode()
    buffer[: len(text)] = np.frombuffer(text, np.uint8)
    answer = json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(buffer))).rstrip(b"\0"))
    if "error" in answer:
        error = UserError(answer["error"])
        error.exit_code = answer["exit_code"]
        raise error
    return answer["value"]
