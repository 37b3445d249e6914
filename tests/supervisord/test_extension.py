"""The extension's own life: settings, reloads, daemon mode, and a supervisord that is not as it expects."""

from __future__ import annotations

import builtins
import contextlib
import os
import signal
import socket
import statistics
import time
import xmlrpc.client
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes import stress
from fakes.supervisords import FACTORY, Supervisord
from fakes.wait import wait_until

from hiveot_supervisor import __version__
from hiveot_supervisor.supervisord import extension
from hiveot_supervisor.supervisord.rpc import SupervisordClient
from hiveot_supervisor.supervisord.states import EventName, Mood, ProcessState


def exit_latency(daemon: Supervisord, name: str, samples: int = 3) -> float:
    """Median seconds from kill -9 to the event."""
    delays = []
    for _ in range(samples):
        pid = daemon.begin(name)
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        arrived, _ = daemon.await_event(name, ProcessState.EXITED, after=killed)
        delays.append(arrived - killed)
    return statistics.median(delays)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def assert_each_transition_is_told_once(daemon: Supervisord, name: str) -> None:
    daemon.begin(name)
    daemon.await_event(name, ProcessState.RUNNING, after=time.monotonic() - 1)
    since = time.monotonic()
    daemon.client.stop(name)
    daemon.await_event(name, ProcessState.STOPPED, after=since)
    fences = daemon.events(prefix=EventName.REMOTE_COMMUNICATION)
    daemon.client.send_remote_event("fence", "")  # a second report would come before it
    wait_until(lambda: len(daemon.events(prefix=EventName.REMOTE_COMMUNICATION)) > len(fences))
    told = [
        e.state for t, e in daemon.events(name) if t >= since - 1 and e.state is ProcessState.STOPPED and t >= since
    ]
    assert told == [ProcessState.STOPPED]
    payload = daemon.record.read_text().splitlines()
    assert not any(line.count("mood:") > 1 for line in payload)


def test_reloads_leak_nothing_and_stay_quick(daemon: Supervisord) -> None:
    daemon.program("p")
    daemon.program("up", autostart="true")
    daemon.start()
    wait_until(lambda: daemon.events("up"))
    counts = []
    for _ in range(4):
        daemon.reload()
        daemon.await_state("up", ProcessState.RUNNING)
        daemon.await_state("listener", ProcessState.RUNNING)
        assert exit_latency(daemon, "p") < 0.1
        assert_each_transition_is_told_once(daemon, "p")
        daemon.client.close()
        counts.append(daemon.fds())
    assert max(counts) - min(counts) <= 1, counts  # one connection may just be closing
    before = daemon.cpu()
    time.sleep(1.0)
    assert daemon.cpu() - before <= 0.03
    assert daemon.log_count("hiveot extension .* is active") == 5
    assert daemon.log_count("trouble with") == 0
    assert daemon.terminate() < 3


def test_a_reload_can_take_it_out(daemon: Supervisord) -> None:
    """supervisord's map of descriptors outlives a reload; one that is closed would make it spin."""
    daemon.umask = 0o027
    daemon.program("p")
    daemon.start()
    with_it = daemon.fds()
    daemon.extension = None
    daemon.write()
    daemon.reload()
    assert daemon.client.extension() is None
    before = daemon.cpu()
    time.sleep(1.0)
    assert daemon.cpu() - before <= 0.03
    assert daemon.fds() == with_it - 2
    assert "Umask:\t0027" in Path(f"/proc/{daemon.pid}/status").read_text()


def test_a_unix_and_a_tcp_server_share_one_extension(daemon: Supervisord) -> None:
    """The factory is called for each server."""
    port = free_port()
    daemon.sections = f"[inet_http_server]\nport=127.0.0.1:{port}\n"
    daemon.program("p")
    daemon.start()
    assert daemon.log_count("RPC interface 'hiveot' initialized") == 2
    assert daemon.log_count("is active") == 1
    assert exit_latency(daemon, "p") < 0.1
    assert_each_transition_is_told_once(daemon, "p")
    with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}/RPC2") as proxy:
        assert proxy.hiveot.status() == daemon.client._call("hiveot.status")
    daemon.reload()
    assert exit_latency(daemon, "p") < 0.1
    assert daemon.log_count("is active") == 2


def test_daemon_mode(daemon: Supervisord) -> None:
    """supervisord forks after the factory was called, and sets its umask."""
    daemon.nodaemon = False
    daemon.program("p")
    daemon.start()
    assert daemon.process is not None
    assert daemon.process.wait(10) == 0
    assert daemon.pid != daemon.process.pid
    assert exit_latency(daemon, "p") < 0.1
    daemon.begin("p")
    pid = daemon.info("p").pid
    os.kill(daemon.pid, signal.SIGKILL)
    wait_until(lambda: daemon.remains() == [], 2.0, f"{pid} is gone")


def test_switched_off_it_does_nothing(daemon: Supervisord) -> None:
    daemon.extension = f"{daemon.extension}\nenabled = false"
    daemon.program("p")
    daemon.program("failer", "/bin/sh -c 'exit 3'")
    daemon.start()
    assert daemon.client.extension() == f"{__version__} off"
    assert daemon.log_count("hiveot extension") == 0
    daemon.begin("p")
    os.kill(daemon.info("p").pid, signal.SIGKILL)
    _, event = daemon.await_event("p", ProcessState.EXITED)
    assert (event.mood, event.signal, event.time) == (None, None, None)
    assert (daemon.info("p").exitcode, daemon.info("p").signal) == (None, None)  # it knows no more
    daemon.client.start("failer")
    assert daemon.await_state("failer", ProcessState.EXITED).exitcode == 3
    assert {p.name for p in daemon.client.snapshot()} == {"listener", "failer", "p"}


LACKING = {
    "event": "from supervisor import events; del events.ProcessStateEvent",
    "class": "from supervisor import xmlrpc; del xmlrpc.DeferredXMLRPCResponse",
}
"""What newer versions might do; supervisord itself can do without these."""


@pytest.mark.parametrize("lacking", ["event", "class"])
def test_it_steps_aside_when_supervisord_is_not_as_expected(daemon: Supervisord, lacking: str) -> None:
    """Something that it uses is gone: a short poll time-out instead, one warning, everything works."""
    (daemon.folder / "wrapped.py").write_text(
        f"import {FACTORY.split(':')[0]} as real\n"
        f"def factory(s, **config):\n    {LACKING[lacking]}\n    return real.make_extension(s, **config)\n"
    )
    daemon.extension = "supervisor.rpcinterface_factory = wrapped:factory"
    daemon.program("p")
    daemon.start()
    assert daemon.client.extension() == f"{__version__} fallback"
    assert daemon.log_count(r"WARN hiveot extension .* does not know this supervisord \(it lacks") == 1
    assert exit_latency(daemon, "p") < 0.5
    assert {p.name for p in daemon.client.snapshot()} == {"listener", "p"}
    assert daemon.log_count("WARN hiveot") == 1
    assert daemon.terminate() < 5


INTERNALS = [(owner, name) for owner, names in extension._NEEDED for name in names]
INTERNALS_OF_OPTIONS = [*extension._NEEDED_OF_OPTIONS, *(".".join(words) for words in extension._NEEDED_DEEPER)]


def virtual_supervisord() -> SimpleNamespace:
    """As much of one as is looked at; a warning and a poll leave a trace."""
    log: list[str] = []
    ways = {f"{verb}_{way}": None for verb in ("register", "unregister") for way in ("readable", "writable")}
    options = SimpleNamespace(
        poller=SimpleNamespace(poll=lambda timeout: timeout, **ways),
        signal_receiver=SimpleNamespace(_signals_recvd=[], receive=None),
        logger=SimpleNamespace(warn=log.append),
        log=log,
        mood=Mood.RUNNING,
        logfile="",
        minfds=0,
    )
    return SimpleNamespace(options=options)


@pytest.fixture
def no_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extension, "_active", None)


def assert_stepped_aside(supervisord: SimpleNamespace, made: extension.RpcInterface, lacking: str) -> None:
    assert made.version() == f"{__version__} fallback"
    (warning,) = supervisord.options.log
    assert f"it lacks {lacking}" in warning
    assert extension.make_extension(supervisord) is made  # the next http server's: no second warning
    assert len(supervisord.options.log) == 1


@pytest.mark.usefixtures("no_extension")
@pytest.mark.parametrize(("owner", "name"), INTERNALS, ids=lambda item: getattr(item, "__name__", item))
def test_it_steps_aside_without_any_internal(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    """Each thing of supervisord's that it uses, one after the other."""
    assert hasattr(owner, name)
    lookup = lambda thing, wanted: (thing, wanted) != (owner, name) and builtins.hasattr(thing, wanted)  # noqa: E731
    monkeypatch.setattr(extension, "hasattr", lookup, raising=False)
    supervisord = virtual_supervisord()
    made = extension.make_extension(supervisord)
    assert_stepped_aside(supervisord, made, f"{getattr(owner, '__name__', owner)}.{name}")
    assert supervisord.options.poller.poll(1) == extension.POLL_CAP


@pytest.mark.usefixtures("no_extension")
@pytest.mark.parametrize("path", INTERNALS_OF_OPTIONS)
def test_it_steps_aside_without_any_part_of_the_options(path: str) -> None:
    supervisord = virtual_supervisord()
    *owners, name = path.split(".")
    owner = supervisord.options
    for word in owners:
        owner = getattr(owner, word)
    delattr(owner, name)
    assert_stepped_aside(supervisord, extension.make_extension(supervisord), f"options.{path}")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("pdeathsig = NONSENSE", "no such signal"),
        ("enabled = perhaps", "true or false"),
        ("colour = red", "no setting colour"),
    ],
)
def test_settings_that_make_no_sense_refuse_the_start(daemon: Supervisord, setting: str, words: str) -> None:
    daemon.extension = f"{daemon.extension}\n{setting}"
    daemon.launch()
    assert daemon.process is not None
    assert daemon.process.wait(10) == 2
    assert words in daemon.log.read_text()


def test_a_termination_during_a_reload_is_not_lost(daemon: Supervisord) -> None:
    """Until the new generation has set its handlers, signals go to the old one, which nobody asks any more."""
    hold, waiting = daemon.folder / "hold", daemon.folder / "waiting"
    (daemon.folder / "wrapped.py").write_text(
        f"import os, time\nimport {FACTORY.split(':')[0]} as real\n"
        "def factory(s, **config):\n"
        f"    while os.path.exists({str(hold)!r}):\n"
        f"        open({str(waiting)!r}, 'w').close()\n        time.sleep(0.01)\n"
        "    return real.make_extension(s, **config)\n"
    )
    daemon.extension = "supervisor.rpcinterface_factory = wrapped:factory"
    daemon.start()
    hold.touch()
    os.kill(daemon.pid, signal.SIGHUP)
    wait_until(waiting.exists)
    assert daemon.process is not None
    daemon.process.terminate()
    time.sleep(0.1)
    hold.unlink()
    assert daemon.process.wait(5) == 0


def test_trouble_in_a_callback_is_logged_once_and_does_no_harm(daemon: Supervisord) -> None:
    (daemon.folder / "wrapped.py").write_text(
        "from hiveot_supervisor.supervisord import extension as real, extension_loop\n"
        "def broken(*args): raise RuntimeError('deliberate')\n"
        "def factory(s, **config):\n"
        "    made = real.make_extension(s, **config)\n"
        "    real.Extension._add_facts = broken\n"
        "    extension_loop.Loop.shorten = broken\n"
        "    extension_loop.Loop.handle_read_event = broken\n"
        "    extension_loop.Loop.detach = broken\n"
        "    return made\n"
    )
    daemon.extension = "supervisor.rpcinterface_factory = wrapped:factory"
    daemon.program("p")
    daemon.start()
    for _ in range(3):
        pid = daemon.begin("p")
        os.kill(pid, signal.SIGKILL)
        daemon.await_state("p", ProcessState.EXITED)
    assert daemon.client.state() is Mood.RUNNING
    text = daemon.log.read_text()
    for what in ("handling an event", "working out the poll time-out", "reading the wake-up pipe"):
        assert text.count(f"trouble with {what}") == 1
    assert daemon.terminate() < 5
    assert "trouble with leaving (Loop)" in daemon.log.read_text()
    assert "Traceback" not in (daemon.folder / "stderr").read_text()


def test_stress(daemon: Supervisord) -> None:
    """Children that end and are killed all the time, with reloads in between; benchmarks/stress.py is the long form."""
    result = stress.run(daemon, children=40, seconds=5.0, reloads=2, seed=1)
    assert result.complaints == []
    assert result.starts > 2 * 40


LEFT_OPEN = """
import gc, os, sys
if "supervisor.supervisord" in sys.orig_argv:
    gc.disable()
    stock, me = os.closerange, os.getpid()
    def closerange(first, last):
        if os.getpid() == me:
            found = [fd for fd in range(first, last) if os.path.exists(f"/proc/self/fd/{fd}")]
            print("left open:", found, file=sys.stderr, flush=True)
        stock(first, last)
    os.closerange = closerange
"""


def test_a_reload_leaves_no_descriptor_to_the_garbage_collector(daemon: Supervisord) -> None:
    """It would close the number when something of the new generation has it: a listener's pipe, a log, a connection.

    What supervisord finds open when it closes all that it does not know is still somebody's. The listener's output goes
    into a log of supervisord's choice here, and a connection stays open over the reload.
    """
    (daemon.folder / "sitecustomize.py").write_text(LEFT_OPEN)
    daemon.program("p", stdout_logfile="AUTO")
    daemon.start()
    daemon.begin("p")
    with contextlib.closing(SupervisordClient(daemon.socket)) as other:
        other.state()
        daemon.reload()
    assert (daemon.folder / "stderr").read_text().splitlines()[-1] == "left open: []"
