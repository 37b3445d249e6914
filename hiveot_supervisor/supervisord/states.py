"""supervisord's vocabulary: process states, its own mood, fault codes and event names, as enums.

Values are those on the wire (supervisor.states, supervisor.xmlrpc.Faults and supervisor.events of Supervisor 4.x).
Nothing here imports anything of ours, nor the supervisor distribution.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class ProcessState(IntEnum):
    """State of one process, as supervisord sees it. RUNNING with startsecs=0 means no more than `forked`."""

    STOPPED = 0
    STARTING = 10
    RUNNING = 20
    BACKOFF = 30
    STOPPING = 40
    EXITED = 100
    FATAL = 200
    UNKNOWN = 1000


ALIVE = frozenset({ProcessState.STARTING, ProcessState.RUNNING, ProcessState.STOPPING})
"""States in which a process exists (it has a pid)."""

STOPPABLE = frozenset({ProcessState.STARTING, ProcessState.RUNNING, ProcessState.BACKOFF})
"""States in which stopProcess is accepted and startProcess is refused (supervisor's RUNNING_STATES)."""


class Mood(IntEnum):
    """What supervisord as a whole is doing. RESTARTING is a SIGHUP or `supervisorctl reload`: all stop, all start."""

    FATAL = 2
    RUNNING = 1
    RESTARTING = 0
    SHUTDOWN = -1


class Fault(IntEnum):
    """Codes of XML-RPC faults. supervisord may know more; an error carries the number as it came."""

    UNKNOWN_METHOD = 1
    INCORRECT_PARAMETERS = 2
    BAD_ARGUMENTS = 3
    SIGNATURE_UNSUPPORTED = 4
    SHUTDOWN_STATE = 6
    BAD_NAME = 10
    BAD_SIGNAL = 11
    NO_FILE = 20
    NOT_EXECUTABLE = 21
    FAILED = 30
    ABNORMAL_TERMINATION = 40
    SPAWN_ERROR = 50
    ALREADY_STARTED = 60
    NOT_RUNNING = 70
    SUCCESS = 80
    ALREADY_ADDED = 90
    STILL_RUNNING = 91
    CANT_REREAD = 92


class EventName(StrEnum):
    """Names in the `eventname` header of the events that we subscribe to."""

    PROCESS_STATE_STOPPED = "PROCESS_STATE_STOPPED"
    PROCESS_STATE_STARTING = "PROCESS_STATE_STARTING"
    PROCESS_STATE_RUNNING = "PROCESS_STATE_RUNNING"
    PROCESS_STATE_BACKOFF = "PROCESS_STATE_BACKOFF"
    PROCESS_STATE_STOPPING = "PROCESS_STATE_STOPPING"
    PROCESS_STATE_EXITED = "PROCESS_STATE_EXITED"
    PROCESS_STATE_FATAL = "PROCESS_STATE_FATAL"
    PROCESS_STATE_UNKNOWN = "PROCESS_STATE_UNKNOWN"
    PROCESS_GROUP_ADDED = "PROCESS_GROUP_ADDED"
    PROCESS_GROUP_REMOVED = "PROCESS_GROUP_REMOVED"
    SUPERVISOR_STATE_CHANGE_RUNNING = "SUPERVISOR_STATE_CHANGE_RUNNING"
    SUPERVISOR_STATE_CHANGE_STOPPING = "SUPERVISOR_STATE_CHANGE_STOPPING"
    REMOTE_COMMUNICATION = "REMOTE_COMMUNICATION"
    TICK_5 = "TICK_5"
    TICK_60 = "TICK_60"
    TICK_3600 = "TICK_3600"

    @property
    def state(self) -> ProcessState | None:
        """The state that a PROCESS_STATE event reports, else None."""
        prefix, _, state = self.value.rpartition("_")
        return ProcessState[state] if prefix == "PROCESS_STATE" else None
