from __future__ import annotations

import os
import pwd
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.supervisords import SUPERVISORD, Supervisord, supervisord
from fakes.wait import wait_until

from hiveot_supervisor.errors import ExitCode, SupervisordFault, SupervisordUnreachable
from hiveot_supervisor.supervisord.process import kill_group
from hiveot_supervisor.supervisord.rpc import ForeignSocket, SupervisordClient, clear_stale
from hiveot_supervisor.supervisord.states import EventName, Fault, Mood, ProcessState
from hiveot_supervisor.supervisord.transport import check_peer


@pytest.fixture(scope="module", params=["extension", "bare"])
def running(request: pytest.FixtureRequest) -> Iterator[Supervisord]:
    """One supervisord for all tests that leave it as it was."""
    with supervisord() as daemon:
        if request.param == "bare":
            daemon.extension = None
        daemon.program("sleeper")
        daemon.program("missing", "/nonexistent/program")
        (daemon.folder / "text").write_text("not executable")
        daemon.program("text", str(daemon.folder / "text"))
        daemon.program(
            "talker", daemon.script("talker", "echo hello; echo wörld"), stdout_logfile=daemon.folder / "out"
        )
        yield daemon.start()


def answer_once(server: socket.socket, answer: bytes) -> None:
    """Take one request completely (a close with unread data would be a reset), send an answer and hang up."""

    def serve() -> None:
        with server.accept()[0] as connection:
            request = b""
            while b"</methodCall>" not in request:
                request += connection.recv(10000)
            connection.sendall(answer)

    threading.Thread(target=serve).start()


@pytest.fixture
def silent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, socket.socket]]:
    """A socket on which somebody listens who never answers."""
    with supervisord() as daemon, socket.socket(socket.AF_UNIX) as server:
        server.bind(str(daemon.socket))
        server.listen(1)
        yield daemon.socket, server


def test_state_and_extension(running: Supervisord) -> None:
    assert running.client.state() is Mood.RUNNING
    version = running.client.extension()
    assert version is None if running.extension is None else (version or "").endswith(" full")


def test_start_snapshot_stop(running: Supervisord) -> None:
    before = time.time()
    running.client.start("sleeper")
    info = running.info("sleeper")
    assert info.state in (ProcessState.STARTING, ProcessState.RUNNING)
    assert info.group == "sleeper"
    assert before - 1 <= info.start <= time.time()
    assert info.exitcode is None
    running.begin("sleeper") if info.pid == 0 else wait_until(
        lambda: "sleep" in Path(f"/proc/{info.pid}/comm").read_text()
    )
    running.client.stop("sleeper")
    stopped = running.await_state("sleeper", ProcessState.STOPPED)
    assert stopped.pid == 0
    assert stopped.stop >= stopped.start - 1
    assert stopped.signal == (None if running.extension is None else signal.SIGTERM)


def test_start_all_starts_what_can_be_started_and_tells_the_rest(running: Supervisord) -> None:
    names = ["missing", "nonsense", "text", "sleeper"]
    faults = running.client.start_all(names)
    assert {name: fault.code for name, fault in faults.items()} == {
        "missing": Fault.NO_FILE,
        "nonsense": Fault.BAD_NAME,
        "text": Fault.NOT_EXECUTABLE,
    }
    assert str(faults["nonsense"].what) == "nonsense: supervisord has no such process"
    assert running.info("sleeper").pid
    assert running.client.start_all([]) == {}
    assert {f.code for f in running.client.start_all(["sleeper", "sleeper"]).values()} == {Fault.ALREADY_STARTED}
    running.client.stop("sleeper")
    running.await_state("sleeper", ProcessState.STOPPED)


@pytest.mark.parametrize(
    ("method", "arguments", "code", "words"),
    [
        ("start", ("nobody",), Fault.BAD_NAME, "nobody: supervisord has no such process"),
        ("stop", ("sleeper",), Fault.NOT_RUNNING, "sleeper: it is not running"),
        ("start", ("missing",), Fault.NO_FILE, "missing: the file does not exist: can't find command"),
        ("start", ("text",), Fault.NOT_EXECUTABLE, "text: the file cannot be executed: command at"),
        ("signal", ("sleeper", "NONSENSE"), Fault.BAD_SIGNAL, "sleeper: no such signal: NONSENSE"),
        ("signal", ("sleeper", "HUP"), Fault.NOT_RUNNING, "sleeper: it is not running"),
        ("add_group", ("nobody",), Fault.BAD_NAME, "nobody: supervisord has no such process"),
        ("add_group", ("sleeper",), Fault.ALREADY_ADDED, "sleeper: it has already been added"),
    ],
)
def test_faults(running: Supervisord, method: str, arguments: tuple[str, ...], code: Fault, words: str) -> None:
    with pytest.raises(SupervisordFault) as caught:
        getattr(running.client, method)(*arguments)
    assert caught.value.code == code
    assert str(caught.value).startswith(words)


def test_start_of_what_runs_is_a_fault(running: Supervisord) -> None:
    running.begin("sleeper")
    with pytest.raises(SupervisordFault) as caught:
        running.client.start("sleeper")
    assert caught.value.code == Fault.ALREADY_STARTED
    running.client.stop("sleeper")
    running.await_state("sleeper", ProcessState.STOPPED)


def test_a_process_that_ends_before_the_answer_was_started_all_the_same(daemon: Supervisord) -> None:
    """supervisord answers SPAWN_ERROR when it reaps a failed process within the request."""
    (daemon.folder / "slow.py").write_text(
        "import time\nfrom hiveot_supervisor.supervisord.extension import make_extension\n"
        "def factory(s, **config):\n    stock = s.reap\n"
        "    def reap(*args, **keywords):\n        time.sleep(0.1)\n        stock(*args, **keywords)\n"
        "    s.reap = reap\n    return make_extension(s)\n"
    )
    daemon.extension = "supervisor.rpcinterface_factory = slow:factory"
    daemon.program("fails", "/bin/false")
    daemon.start()
    daemon.client.start("fails")
    assert daemon.info("fails").exitcode == 1
    daemon.await_event("fails", ProcessState.EXITED)
    with pytest.raises(SupervisordFault, match="could not be started"):
        daemon.client._call("supervisor.startProcess", "fails", False)


def test_signal_reaches_the_process(running: Supervisord) -> None:
    for sig in ("USR1", signal.SIGUSR1, "SIGUSR1"):
        running.begin("sleeper")
        running.client.signal("sleeper", sig)
        info = running.await_state("sleeper", ProcessState.EXITED)
        assert info.signal == (None if running.extension is None else signal.SIGUSR1)


def test_tail_goes_on_from_its_offset(running: Supervisord) -> None:
    running.client.clear_log("talker")
    assert running.client.tail("talker").text == ""
    for _ in range(2):
        running.client.start("talker")
        running.await_state("talker", ProcessState.EXITED)
    first = running.client.tail("talker", 0, 1000)
    assert first.text == "hello\nwörld\n" * 2
    assert not first.overflow
    running.client.start("talker")
    running.await_state("talker", ProcessState.EXITED)
    more = running.client.tail("talker", first.offset, 1000)
    assert more.text.endswith("hello\nwörld\n")
    assert more.offset > first.offset


def test_remote_event_arrives(running: Supervisord) -> None:
    running.client.send_remote_event("hiveot", '{"op": "grüße"}')

    def arrived() -> bool:
        events = running.events(prefix=EventName.REMOTE_COMMUNICATION)
        return any(e.type == "hiveot" and e.data == '{"op": "grüße"}' for _, e in events)

    wait_until(arrived)


def test_threads_share_a_client(running: Supervisord) -> None:
    failures: list[Exception] = []

    def ask() -> None:
        try:
            for _ in range(50):
                assert {p.name for p in running.client.snapshot()} >= {"sleeper", "talker"}
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []


def test_reload_config_add_and_remove(daemon: Supervisord) -> None:
    daemon.program("old")
    daemon.program("changing")
    daemon.start()
    daemon.programs.pop("old")
    daemon.program("changing", "/bin/sleep 2000")
    daemon.program("new")
    daemon.write()
    change = daemon.client.reload_config()
    assert (change.added, change.changed, change.removed) == (("new",), ("changing",), ("old",))
    daemon.client.add_group("new")
    daemon.begin("new")
    with pytest.raises(SupervisordFault) as caught:
        daemon.client.remove_group("new")
    assert caught.value.code == Fault.STILL_RUNNING
    daemon.client.remove_group("old")
    assert {p.name for p in daemon.client.snapshot()} == {"listener", "changing", "new"}
    daemon.conf.write_text("[supervisord]\nnonsense")
    with pytest.raises(SupervisordFault) as caught:
        daemon.client.reload_config()
    assert caught.value.code == Fault.CANT_REREAD
    assert "nonsense" in str(caught.value)


@pytest.mark.parametrize("bare", [False, True])
def test_shutdown_and_what_can_be_seen_of_it(daemon: Supervisord, bare: bool) -> None:
    if bare:
        daemon.extension = None
    daemon.program(
        "stubborn", daemon.script("stubborn", "trap '' TERM\necho\nwhile :; do sleep 0.1; done"), stopwaitsecs=60
    )
    daemon.start()
    pid = daemon.begin("stubborn")
    ignored = f"/proc/{pid}/status"
    wait_until(lambda: int(Path(ignored).read_text().split("SigIgn:")[1].split()[0], 16) >> (signal.SIGTERM - 1) & 1)
    daemon.client.shutdown()
    wait_until(lambda: daemon.client.state() is Mood.SHUTDOWN)
    daemon.client.shutdown()  # nothing to do, no error
    if bare:
        with pytest.raises(SupervisordFault) as caught:
            daemon.client.snapshot()
        assert caught.value.code == Fault.SHUTDOWN_STATE
    else:
        assert daemon.info("stubborn").state in (ProcessState.STOPPING, ProcessState.RUNNING)
    with pytest.raises(SupervisordFault):
        daemon.client.start("stubborn")
    kill_group(pid)
    assert daemon.process is not None
    daemon.process.wait(10)
    with pytest.raises(SupervisordUnreachable):
        daemon.client.shutdown()


def test_shutdown_with_nothing_to_stop_is_no_error(daemon: Supervisord) -> None:
    daemon.listener = False
    daemon.start()
    daemon.client.shutdown()
    assert daemon.process is not None
    assert daemon.process.wait(10) == 0


def test_a_client_outlives_a_reload(daemon: Supervisord) -> None:
    """The connection is closed under it; without the extension afterwards it falls back by itself."""
    daemon.program("p")
    daemon.start()
    assert daemon.client.snapshot()
    connections = daemon.client._transport.connections
    for _ in range(10):
        daemon.client.snapshot()
    assert daemon.client._transport.connections == connections  # kept alive
    daemon.extension = None
    daemon.write()
    daemon.reload()
    assert daemon.client.extension() is None
    assert {p.name for p in daemon.client.snapshot()} == {"listener", "p"}
    daemon.extension = "supervisor.rpcinterface_factory = hiveot_supervisor.supervisord.extension:make_extension"
    daemon.write()
    daemon.reload()
    assert (daemon.client.extension() or "").endswith("full")
    daemon.client.snapshot()
    assert daemon.client._extension


def test_a_snapshot_of_fifty_takes_milliseconds(daemon: Supervisord) -> None:
    for number in range(50):
        daemon.program(f"p{number}")
    daemon.start()
    took = []
    for _ in range(20):
        begun = time.perf_counter()
        assert len(daemon.client.snapshot()) == 51
        took.append(time.perf_counter() - begun)
    assert statistics.median(took) < 0.030


def test_what_is_slow_to_import_is_not_needed_to_look(daemon: Supervisord) -> None:
    """30 ms of every `hiveot-launcher list`."""
    daemon.start()
    code = f"""
import sys
from pathlib import Path
from hiveot_supervisor.supervisord.rpc import SupervisordClient
assert SupervisordClient(Path({str(daemon.socket)!r})).snapshot()
sys.exit(", ".join({{"xmlrpc", "http", "email", "ssl"}} & set(sys.modules)) or None)
"""
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


# -- nobody answers


def refused(path: Path, timeout: float = 1.0) -> SupervisordUnreachable:
    with pytest.raises(SupervisordUnreachable) as caught:
        SupervisordClient(path, timeout=timeout).state()
    assert caught.value.exit_code is ExitCode.UNREACHABLE
    assert caught.value.hint
    return caught.value


def test_no_socket(daemon: Supervisord) -> None:
    error = refused(daemon.socket)
    assert str(error) == (
        f"supervisord is not running: there is no socket {daemon.socket}\n  start it with: hiveot-launcher up"
    )


def test_a_socket_that_was_left_behind(daemon: Supervisord) -> None:
    daemon.start()
    os.kill(daemon.pid, signal.SIGKILL)
    assert daemon.process is not None
    daemon.process.wait()
    assert daemon.socket.exists()
    error = refused(daemon.socket)
    assert "was left behind" in error.why
    assert "hiveot-launcher up" in error.hint


def test_somebody_who_never_answers(silent: tuple[Path, socket.socket]) -> None:
    begun = time.monotonic()
    error = refused(silent[0], timeout=0.2)
    assert error.what == "supervisord does not answer"
    assert "within 0.2 s" in error.why
    assert time.monotonic() - begun < 2


def test_somebody_who_hangs_up(silent: tuple[Path, socket.socket]) -> None:
    answer_once(silent[1], b"")
    assert refused(silent[0]).what == "supervisord went away"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"nonsense\r\n\r\n", "HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "XML-RPC"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello", "HTTP"),
    ],
)
def test_somebody_who_is_not_supervisord(silent: tuple[Path, socket.socket], answer: bytes, words: str) -> None:
    answer_once(silent[1], answer)
    assert words in str(refused(silent[0]))


def test_a_path_that_does_not_fit_into_an_address(tmp_path: Path) -> None:
    assert "too long" in str(refused(tmp_path / ("x" * 120)))


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to be somebody else")
def test_no_permission(daemon: Supervisord) -> None:
    daemon.start()
    nobody = pwd.getpwnam("nobody").pw_uid
    code = f"""
import os, sys
from pathlib import Path
from hiveot_supervisor.supervisord.process import kill_group
from hiveot_supervisor.supervisord.rpc import SupervisordClient
import http.client, xmlrpc.client
os.setgid({nobody}); os.setuid({nobody})
SupervisordClient(Path({str(daemon.socket)!r})).state()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "supervisord cannot be reached: no permission to use" in result.stderr


def test_another_service_behind_http(silent: tuple[Path, socket.socket]) -> None:
    answer_once(silent[1], b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(SupervisordFault, match="401"):
        SupervisordClient(silent[0]).state()


def test_a_fault_code_we_do_not_know(silent: tuple[Path, socket.socket]) -> None:
    body = xmlrpc.client.dumps(xmlrpc.client.Fault(777, "SOMETHING: new")).encode()
    answer_once(silent[1], b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    with pytest.raises(SupervisordFault, match="fault 777") as caught:
        SupervisordClient(silent[0]).state()
    assert caught.value.code == 777


# -- what a killed supervisord leaves behind


def test_nothing_to_clear(daemon: Supervisord) -> None:
    assert clear_stale(daemon.socket, daemon.pidfile)


def test_the_socket_of_a_living_supervisord_is_left_alone(daemon: Supervisord) -> None:
    daemon.start()
    assert not clear_stale(daemon.socket, daemon.pidfile)
    os.kill(daemon.pid, signal.SIGSTOP)
    assert not clear_stale(daemon.socket, daemon.pidfile)
    os.kill(daemon.pid, signal.SIGCONT)
    assert daemon.client.state() is Mood.RUNNING


def test_what_a_killed_supervisord_left_is_cleared_and_a_new_one_starts(daemon: Supervisord) -> None:
    daemon.start()
    assert daemon.process is not None
    daemon.process.kill()
    daemon.process.wait()
    assert clear_stale(daemon.socket, daemon.pidfile)
    assert not daemon.socket.exists()
    assert not daemon.pidfile.exists()
    daemon.start()
    assert daemon.client.state() is Mood.RUNNING


def test_a_supervisord_that_lost_its_socket_is_still_there(daemon: Supervisord) -> None:
    daemon.start()
    daemon.socket.unlink()
    assert not clear_stale(daemon.socket, daemon.pidfile)
    assert daemon.pidfile.exists()


def test_a_pidfile_whose_pid_went_to_somebody_else(daemon: Supervisord) -> None:
    """After a reboot: the pid belongs to a younger process, even to another supervisord."""
    daemon.start()
    stale = daemon.folder / "stale.pid"
    stale.write_text(f"{daemon.pid}\n")
    os.utime(stale, (1_600_000_000, 1_600_000_000))
    assert clear_stale(daemon.folder / "other", stale)
    assert not stale.exists()
    assert SUPERVISORD.exists()


@pytest.mark.parametrize(
    "content",
    ["", "nonsense", "99999999", "-1", str(os.getpid())],
    ids=["empty", "nonsense", "unused", "negative", "ours"],
)
def test_a_pidfile_that_names_no_supervisord(daemon: Supervisord, content: str) -> None:
    daemon.pidfile.write_text(content)
    assert clear_stale(daemon.socket, daemon.pidfile)
    assert not daemon.pidfile.exists()


def test_only_our_own_supervisord_and_roots_are_believed(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.sock"
    check_peer(path, os.geteuid())
    check_peer(path, 0)
    with pytest.raises(ForeignSocket, match="is not your supervisord's"):
        check_peer(path, os.geteuid() + 12345)


LISTEN = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
listener.settimeout(20)
print("listening", flush=True)
sys.exit(1 if listener.accept()[0].recv(100) else 0)
"""
"""Listens as another user; exits 1 when it was sent anything."""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to listen as another user")
@pytest.mark.parametrize("owned", [False, True], ids=["roots-folder", "their-folder"])
def test_another_users_socket_gets_no_request(silent: tuple[Path, socket.socket], owned: bool) -> None:
    """Who may write to the run folder can put a socket there. Root may control the home of whoever owns the folder."""
    path, _ = silent
    nobody = pwd.getpwnam("nobody")
    os.chown(path.parent, nobody.pw_uid if owned else 0, -1)
    path.unlink()
    path.parent.chmod(0o777)
    words = [sys.executable, "-c", LISTEN, str(path), str(nobody.pw_uid)]
    listener = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert listener.stdout is not None
    assert listener.stdout.readline() == "listening\n"
    client = SupervisordClient(path, timeout=5)
    if owned:
        with pytest.raises(SupervisordUnreachable) as unreachable:
            client.state()
        assert not isinstance(unreachable.value, ForeignSocket)
    else:
        with pytest.raises(ForeignSocket, match="nobody") as refused:
            client.state()
        assert refused.value.exit_code is ExitCode.UNREACHABLE
        assert str(path.parent) in refused.value.hint
    assert listener.wait(30) == owned
    listener.stdout.close()


@pytest.mark.parametrize(
    "answer",
    [
        "<array><data><value><struct></struct></value></data></array>",
        "<int>5</int>",
        "<struct><member><name>statecode</name><value><int>77</int></value></member></struct>",
        "<string>mood:x\nzwave</string>",
        "<boolean>1</boolean>",
    ],
)
def test_xml_rpc_of_another_program_is_recognised(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = SupervisordClient(Path("/nonexistent"))
    body = f"<methodResponse><params><param><value>{answer}</value></param></params></methodResponse>".encode()
    monkeypatch.setattr(client._transport, "post", lambda _: body)
    for ask in (client.snapshot, client.state, client.reload_config, lambda: client.tail("x")):
        with pytest.raises(SupervisordUnreachable, match="not supervisord"):
            ask()
