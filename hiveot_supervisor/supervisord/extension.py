"""Our extension of supervisord, loaded by it from its configuration:

    [rpcinterface:hiveot]
    supervisor.rpcinterface_factory = hiveot_supervisor.supervisord.extension:make_extension
    enabled = true
    pdeathsig = TERM
    launcher = generated/launcher.json

It makes supervisord quick (extension_loop), its children's lives safe (extension_child), lets plugins end side by side
at a shutdown (extension_stop), tells in the events how a process ended, and adds the RPC methods `hiveot.status`,
`hiveot.start` and `hiveot.version`. Without it everything works, slower and with less detail. If a part of supervisord
that it uses is not what it expects, it steps aside: a short poll time-out and one warning. Every callback catches
everything: an exception would end supervisord.

Standard library and supervisor only. Facts: Supervisor 4.3.0's source; also runs in 4.2.5.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from supervisor import dispatchers, events, options, process, rpcinterface, supervisord, xmlrpc

from hiveot_supervisor import __version__
from hiveot_supervisor.supervisord.extension_child import REPLACED, Children
from hiveot_supervisor.supervisord.extension_loop import POLL_CAP, Loop
from hiveot_supervisor.supervisord.extension_stop import Stops
from hiveot_supervisor.supervisord.states import ProcessState

EXIT_REQUESTS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

_NEEDED: tuple[tuple[object, tuple[str, ...]], ...] = (
    (events, ("subscribe", "Event", "ProcessStateEvent", "SupervisorRunningEvent", "SupervisorStoppingEvent")),
    (xmlrpc, ("DeferredXMLRPCResponse", "RPCError")),
    (rpcinterface, ("SupervisorNamespaceRPCInterface",)),
    (supervisord.Supervisor, ("runforever", "reap", "stop_groups", "process_groups", "get_process_map")),
    (process.Subprocess, ("transition", "laststart", "laststop", "delay", "pid", "state", "spawnerr", "config")),
    (process.Subprocess, ("listener_state", "dispatchers")),
    (process.ProcessGroupBase, ("get_unstopped_processes", "stop_all")),
    (process.ProcessGroup, ("transition",)),
    (process.EventListenerPool, ("dispatch",)),
    (dispatchers.PInputDispatcher, ("handle_write_event", "writable")),
    (dispatchers.POutputDispatcher, ("handle_read_event", "readable")),
    (options.ServerOptions, (*REPLACED, "cleanup", "get_socket_map")),
    (os, ("wait4", "pipe2", "waitstatus_to_exitcode")),
    (signal, ("pthread_sigmask", "set_wakeup_fd", "valid_signals")),
)
_NEEDED_OF_OPTIONS = ("poller", "mood", "signal_receiver", "logfile", "minfds")
_NEEDED_DEEPER = (
    *(("poller", f"{verb}_{way}") for verb in ("register", "unregister") for way in ("readable", "writable")),
    ("poller", "poll"),
    ("signal_receiver", "_signals_recvd"),
    ("signal_receiver", "receive"),
)

_active: RpcInterface | None = None


def make_extension(supervisor: Any, **config: str) -> RpcInterface:
    """The factory that supervisord calls for each http server, at start and after each reload.

    config: `enabled` (true), `pdeathsig`: signal name for children when supervisord dies, or `none` (TERM), `launcher`:
    launcher.json, from the folder of supervisord.conf (none: programs are stopped one after another).
    Raises ValueError for a setting that it does not understand; supervisord then refuses to start.
    """
    global _active  # one extension per supervisord, however many servers it has
    if _active is not None and _active._supervisord is supervisor:
        return _active
    before = _active
    death_signal = _signal_number(config.pop("pdeathsig", "TERM"))
    enabled = _boolean(config.pop("enabled", "true"))
    launcher = config.pop("launcher", "")
    if launcher:
        launcher = str(Path(supervisor.options.configfile).absolute().parent / launcher)
    if config:
        raise ValueError(f"[rpcinterface:hiveot] has no setting {', '.join(sorted(config))}")
    lacking = missing_internals(supervisor.options)
    if not enabled:
        _active = RpcInterface(supervisor, "off")
    elif lacking:
        _active = RpcInterface(supervisor, "fallback")
        _step_aside(supervisor.options, lacking)
    else:
        _active = RpcInterface(supervisor, "full")
        Extension(supervisor, death_signal, launcher).attach()
        if before is not None:
            _carry_over(before._supervisord.options.signal_receiver, supervisor.options.signal_receiver)
    return _active


def missing_internals(settings: Any) -> list[str]:
    """Names of what we use and supervisord does not have; empty with the versions that we know."""
    lacking = [
        f"{getattr(owner, '__name__', owner)}.{n}" for owner, names in _NEEDED for n in names if not hasattr(owner, n)
    ]
    lacking += [f"options.{name}" for name in _NEEDED_OF_OPTIONS if not hasattr(settings, name)]
    return lacking + [
        f"options.{part}.{name}" for part, name in _NEEDED_DEEPER if not hasattr(getattr(settings, part, None), name)
    ]


def _step_aside(settings: Any, lacking: list[str]) -> None:
    settings.logger.warn(
        f"hiveot extension {__version__} does not know this supervisord (it lacks {', '.join(lacking)}): "
        f"going on without it, polling every {POLL_CAP * 1000:.0f} ms"
    )
    poller = getattr(settings, "poller", None)
    stock = getattr(poller, "poll", None)
    if stock is not None:
        poller.poll = lambda timeout: stock(min(timeout, POLL_CAP))  # type: ignore[union-attr]


def _carry_over(old: Any, new: Any) -> None:
    """An exit request that came while supervisord reloaded is in the list of the generation that is no more."""
    for number in EXIT_REQUESTS:
        if number in old._signals_recvd:
            new.receive(number, None)


def _signal_number(name: str) -> int:
    if name.lower() in ("", "none", "0"):
        return 0
    try:
        return signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except KeyError:
        raise ValueError(f"[rpcinterface:hiveot] pdeathsig={name}: no such signal") from None


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "yes", "on", "1"):
        return True
    if text.lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError(f"[rpcinterface:hiveot] enabled={text}: true or false is expected")


class Extension:
    """The working extension of one generation of supervisord."""

    def __init__(self, supervisor: Any, death_signal: int, launcher: str) -> None:
        self.options = supervisor.options
        self.stops = Stops(supervisor, launcher)
        self.loop = Loop(supervisor, self.report, self.stops)
        self.children = Children(self.options, death_signal, self.loop.on_reaped)
        self._reported: set[str] = set()
        self._cleanup: Callable[[], None] = self.options.cleanup

    def attach(self) -> None:
        self.loop.attach()
        self.children.attach()
        events.subscribe(events.Event, self.on_event)
        self.options.cleanup = self.cleanup
        self.options.logger.info(f"hiveot extension {__version__} is active")

    def cleanup(self) -> None:
        """In place of options.cleanup, the last that a generation does. supervisord drops our subscription itself."""
        for part in (self.loop, self.children):
            try:
                part.detach()
            except Exception:  # noqa: BLE001
                self.report(f"leaving ({type(part).__name__})")
        self._cleanup()

    def on_event(self, event: Any) -> None:
        """Every supervisord event. Listeners' pools have queued it already, but its text is made when it is sent."""
        try:
            self.loop.on_event(event)
            if isinstance(event, events.SupervisorRunningEvent):
                self.children.make_private()
            elif isinstance(event, events.SupervisorStoppingEvent):
                self.loop.deliver_before_stop()
                self._begin_stop()
            elif isinstance(event, events.ProcessStateEvent):
                self._add_facts(event)
        except Exception:  # noqa: BLE001
            self.report("handling an event")

    def _begin_stop(self) -> None:
        try:
            self.stops.begin()
        except Exception:  # noqa: BLE001
            self.report(f"reading {self.stops.path}: programs are stopped one after another")

    def _add_facts(self, event: Any) -> None:
        subject, ending = event.process, self.children.last
        facts: list[tuple[str, Any]] = []
        if subject.state == ProcessState.STARTING:
            subject.hiveot_ending = None
        elif ending is not None and ending.pid == subject.pid and subject.state in _ENDED:
            subject.hiveot_ending = ending
            facts = [("exitcode", ending.exitcode), ("signal", ending.signal)]
            facts += [("maxrss_kb", ending.maxrss_kb), ("cpu", f"{ending.cpu:.3f}")]
        facts += [("mood", int(self.options.mood)), ("time", f"{time.time():.6f}")]
        event.extra_values = [*event.extra_values, *facts]

    def report(self, what: str) -> None:
        """Log the exception being handled, once for each kind of trouble."""
        if what in self._reported:
            return
        self._reported.add(what)
        try:
            self.options.logger.error(f"hiveot extension: trouble with {what}\n{traceback.format_exc()}")
        except Exception:  # noqa: BLE001
            pass


_ENDED = (ProcessState.EXITED, ProcessState.STOPPED, ProcessState.BACKOFF)


class RpcInterface:
    """The RPC methods `hiveot.*`: public methods of this class, by supervisord's rules."""

    def __init__(self, supervisor: Any, mode: str) -> None:
        self._supervisord = supervisor
        self._mode = mode

    def version(self) -> str:
        """Version and mode (full, fallback, off) of the extension

        @return string result  for example `0.1.0 full`
        """
        return f"{__version__} {self._mode}"

    def start(self, names: list[str]) -> str:
        """Start several processes, in this order, in one turn of the loop

        @param array names Process names (or ``group:name``)
        @return string result  for each a line: empty, or as in a fault ``CODE TEXT``
        """
        return "\n".join(self._start(name) for name in names)

    def _start(self, name: str) -> str:
        try:
            rpcinterface.SupervisorNamespaceRPCInterface(self._supervisord).startProcess(name, False)
        except xmlrpc.RPCError as fault:
            return f"{fault.code} {' '.join(fault.text.split())}"
        except Exception as error:  # noqa: BLE001  (what of the others comes must be told)
            return f"{xmlrpc.Faults.FAILED} {' '.join(str(error).split())}"
        return ""

    def status(self) -> str:
        """State of supervisord and of all processes as compact text, also during a shutdown

        First line: `mood:N pid:N`. Then a line a process, in order of names, of fields quoted as in URLs: name group
        state pid start stop exitcode signal spawnerr. Times in wall seconds, 0 if never; unknown fields are empty.

        @return string result  the text
        """
        lines = [f"mood:{int(self._supervisord.options.mood)} pid:{os.getpid()}"]
        for group_name, group in sorted(self._supervisord.process_groups.items()):
            lines += [_status_line(name, group_name, item) for name, item in sorted(group.processes.items())]
        return "\n".join(lines)


def _status_line(name: str, group: str, item: Any) -> str:
    exitcode, killed_by = _ending(item)
    return (
        f"{quote(name)} {quote(group)} {item.state} {item.pid} {item.laststart:.6f} {item.laststop:.6f} "
        f"{exitcode} {killed_by} {quote(item.spawnerr or '')}"
    )


def _ending(item: Any) -> tuple[object, object]:
    """Exit code and signal of the last run, empty where unknown. Switched off we only know what supervisord does."""
    ending = getattr(item, "hiveot_ending", None)
    if ending is not None:
        return (ending.exitcode if ending.exitcode >= 0 else ""), ending.signal or ""
    status = getattr(item, "exitstatus", None)
    known = item.state in _ENDED and item.laststop and status is not None and status >= 0
    return (status if known else ""), ""
