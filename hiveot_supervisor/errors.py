"""The one error tree: every error a person can meet says what happened, why if known, and what to do.

Each class carries the exit code of the command line (docs/cli.md). Nothing here imports anything of ours.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `hiveot-launcher` (LSB's where they exist, so systemctl and scripts agree)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    UNKNOWN_PLUGIN = 4
    CONFIG = 6
    UNREACHABLE = 7
    TIMEOUT = 124
    INTERRUPTED = 130
    # of the pre-start hook, the convention of s6:
    NEVER = 100
    TRY_LATER = 111


class HiveotError(Exception):
    """Base of all errors with a message for people: `what - why - hint`.

    what: one matter-of-fact sentence without full stop; why: the cause, if known; hint: what to do.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.what}: {self.why}" if self.why else self.what
        return f"{text}\n  {self.hint}" if self.hint else text


class UsageError(HiveotError):
    """The command line makes no sense."""

    exit_code = ExitCode.USAGE


class NotRunning(HiveotError):
    """The plugin exists but does not run."""

    exit_code = ExitCode.NOT_RUNNING


class UnknownPlugin(HiveotError):
    """No plugin of that name."""

    exit_code = ExitCode.UNKNOWN_PLUGIN


class ConfigError(HiveotError):
    """launcher.yaml or what it points to is invalid."""

    exit_code = ExitCode.CONFIG


class SupervisordUnreachable(HiveotError):
    """supervisord does not answer on its socket."""

    exit_code = ExitCode.UNREACHABLE


class SupervisordFault(HiveotError):
    """supervisord answered a request with a fault. `code` is its XML-RPC fault code (supervisor.xmlrpc.Faults)."""

    def __init__(self, what: str, *, code: int, why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint)
        self.code = code


class TimedOut(HiveotError):
    """Something did not happen within the time given."""

    exit_code = ExitCode.TIMEOUT


class CredentialError(HiveotError):
    """A key, token or certificate cannot be read, written or trusted."""


class TryLater(HiveotError):
    """Pre-start: a condition that may come true by itself (hub away, device missing)."""

    exit_code = ExitCode.TRY_LATER


class NeverWorks(HiveotError):
    """Pre-start: only a change of configuration, files or accounts can help."""

    exit_code = ExitCode.NEVER


class HubError(HiveotError):
    """The hub answered with an error, or a message could not be delivered."""


class HubUnavailable(HubError):
    """The hub cannot be reached now; trying again makes sense."""


class HubRefused(HubError):
    """The hub refuses our credentials or rights; only a change helps."""


class RequestTimeout(HubError):
    """The hub took the request, but no answer came in time."""

    exit_code = ExitCode.TIMEOUT
