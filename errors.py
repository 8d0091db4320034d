"""The errors that are meant for the user, each with the exit code a verb ends with.

Raise one of these with a message that names the cause and the fix; `cli.run` prints it on standard
error and exits. Any other exception is a bug of ours and keeps its traceback.
"""


class UserError(Exception):
    """Base of all errors that a user can mend."""

    exit_code = 2


class ConfigError(UserError):
    """A bad configuration or command line."""

    exit_code = 2


class DataError(UserError):
    """Missing, empty or damaged input data."""

    exit_code = 3


class DivergedError(UserError):
    """The loss stopped being finite; the last good checkpoint is kept and named."""

    exit_code = 4


class CheckpointError(UserError):
    """A checkpoint is damaged and no older one is whole."""

    exit_code = 5


class WriteError(UserError):
    """A file cannot be written: the disk or a quota is full, or the place is read-only. As EX_IOERR of sysexits.h."""

    exit_code = 74


class Preempted(UserError):
    """The run was asked to stop, has saved, and goes on when the same command is given again."""

    exit_code = 75


class RunsFailed(UserError):
    """Runs of a sweep have failed; ends with the exit code of the first of them."""

    def __init__(self, message, exit_code):
        super().__init__(message)
        self.exit_code = exit_code


class ProcessLost(UserError):
    """Another process of a multi-process run has ended; the run goes on when the same commands are given again."""

    exit_code = 75
