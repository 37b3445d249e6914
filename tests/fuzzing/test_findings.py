"""What fuzzing has found, as ordinary tests: each failed before it was mended."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fuzzing.broker_targets import dynsec_answers, mqtt_packets
from fuzzing.hub_targets import ACCOUNT, AskedAgent, Wire, wss_frames
from fuzzing.machine_targets import listener

from hiveot_supervisor.agent.outside import MachineProcesses
from hiveot_supervisor.agent.service import read_launcher
from hiveot_supervisor.agent.state import Event
from hiveot_supervisor.cli import eventlines
from hiveot_supervisor.config import render
from hiveot_supervisor.config.load import inspect
from hiveot_supervisor.config.paths import locate
from hiveot_supervisor.credentials import certificates, expiry, keys, tokens
from hiveot_supervisor.errors import ConfigError, CredentialError, NeverWorks
from hiveot_supervisor.hub.client import NotificationKind
from hiveot_supervisor.hub.messages import NotificationMessage, ResponseMessage, decode
from hiveot_supervisor.hub.wire import BadMessage, decode_json
from hiveot_supervisor.hub.wss import WssHubClient
from hiveot_supervisor.hub.wss_observe import read_notification
from hiveot_supervisor.model import Paths, Restart, from_json
from hiveot_supervisor.prestart import environment, spec

DEEP = "[" * 100_000
"""Deeper than Python's JSON reader can go."""


@contextmanager
def quick(seconds: float) -> Iterator[None]:
    """What is done inside costs no more CPU than that."""
    begin = time.process_time()
    yield
    assert time.process_time() - begin < seconds


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(*[tmp_path] * 10)


def test_a_mistake_at_the_end_of_a_long_line_is_shown_quickly(tmp_path: Path) -> None:
    """It took 9 s for 50 kB, and grew with the square."""
    (tmp_path / "launcher.yaml").write_text(f"# comment\n{'x' * 900_000}: {{a: b, a: c}}\n")
    with quick(2.0):
        found = inspect(locate(tmp_path))
        shown = [render.full(diagnostic) for diagnostic in found.diagnostics]
    assert shown
    assert all(len(line) < 300 for text in shown for line in text.splitlines())


def test_many_mistakes_in_one_long_line_share_its_text(tmp_path: Path) -> None:
    """Each diagnostic had a copy of the line: 100 of them in a file of 1 MB held 100 MB."""
    wrong = ", ".join(f"k{n:040}: 1" for n in range(15_000))
    (tmp_path / "launcher.yaml").write_text(f"plugins: {{p: {{{wrong}}}}}\n")
    found = inspect(locate(tmp_path))
    lines = [diagnostic.source_line for diagnostic in found.diagnostics if diagnostic.source_line]
    assert len(lines) > 50
    assert len({id(line) for line in lines}) == 1


def test_a_quote_that_is_never_closed_is_found_quickly() -> None:
    """Each further line was put to the others and all read again."""
    with quick(2.0), pytest.raises(NeverWorks, match="not closed"):
        environment.parse_file('A="\n' + "x\n" * 300_000, "plugin.env")


@pytest.mark.parametrize("claim", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
@pytest.mark.parametrize("name", ["iat", "nbf", "exp"])
def test_times_without_a_date_in_utc_are_no_claims(claim: str, name: str) -> None:
    """A ValueError came out of the words of the refusal."""
    key = keys.generate()
    day = "2027-01-15T08:00:00Z"
    claims = {"iss": "hiveot", "sub": "a", "clientID": "a", "sessionID": "s", "iat": day, "nbf": day, "exp": day}
    token = tokens.sign(key, json.dumps(claims | {name: claim}).encode())
    with pytest.raises(CredentialError):
        tokens.verify(token, key.public_key(), now=1_800_000_000.0)


def test_a_signing_request_of_an_unknown_kind_is_the_senders_mistake() -> None:
    """UnsupportedAlgorithm made it an internal error of the account service."""
    ca_key = certificates.new_server_key()
    ca = certificates.create_ca(ca_key, now=time.time())
    pem = certificates.create_request(keys.generate(), "a")
    der = base64.b64decode("".join(pem.splitlines()[1:-1])).replace(bytes.fromhex("2b6570"), bytes.fromhex("2b6572"))
    strange = (
        f"-----BEGIN CERTIFICATE REQUEST-----\n{base64.b64encode(der).decode()}\n-----END CERTIFICATE REQUEST-----\n"
    )
    with pytest.raises(CredentialError, match="refused"):
        certificates.create_client(ca, ca_key, strange, "a", now=time.time())


def test_a_certificate_of_an_unknown_version_is_none() -> None:
    """InvalidVersion is no ValueError."""
    pem = certificates.create_ca(certificates.new_server_key(), now=time.time())
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1])).replace(
        b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x12", 1
    )
    with pytest.raises(CredentialError):
        certificates.parse(b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n")


def test_an_x25519_key_of_the_wrong_length_is_no_key() -> None:
    """InternalError of the library is no ValueError."""
    der = bytes.fromhex("302e020100300506032b656f04220420") + bytes(32)  # X448 has 56 bytes
    with pytest.raises(CredentialError):
        keys.parse_private(base64.b64encode(der))


def test_json_that_nests_too_deep_is_damaged_like_any_other(tmp_path: Path, paths: Paths) -> None:
    """RecursionError is no ValueError."""
    (tmp_path / "launcher.json").write_text(DEEP)
    with pytest.raises(ConfigError):
        read_launcher(tmp_path)
    with pytest.raises(NeverWorks):
        spec.load(str(tmp_path / "launcher.json"))
    with pytest.raises(BadMessage):
        decode_json(DEEP)
    paths.prestart_dir.mkdir()
    (paths.prestart_dir / "p.json").write_text(DEEP)
    assert MachineProcesses(paths).gate("p", 1) is None
    change = NotificationMessage("subscribeevent", "dtw:digitwin:ThingDirectory", "thingUpdated", DEEP)
    with pytest.raises(BadMessage):
        read_notification(change)


def test_members_of_the_wrong_type_are_damage_too(tmp_path: Path) -> None:
    data = dict.fromkeys(("directory", "reason_file", "verified", "environment_file", "user", "store"), "x")
    good = {
        **data,
        "format": spec.FORMAT,
        "name": "p",
        "argv": ["/p"],
        "environment": [],
        "requires": [],
        "credentials": None,
    }
    good["extension"] = False
    file = tmp_path / "p.json"
    file.write_text(json.dumps(good))
    assert spec.load(str(file)).argv == ("/p",)
    for wrong in ({"name": None}, {"argv": []}, {"argv": [1]}, {"directory": 3}, {"requires": [None]}):
        file.write_text(json.dumps(good | wrong))
        with pytest.raises(NeverWorks):
            spec.load(str(file))


def test_a_whole_number_beyond_all_bounds_is_no_duration() -> None:
    """OverflowError is no ValueError."""
    with pytest.raises(ValueError, match="too large"):
        from_json(Restart, {"delay": 10**400})


def test_a_reason_is_one_line_that_acts_on_no_terminal(paths: Paths) -> None:
    """Its file belongs to the plugin's user while the plugin starts."""
    paths.prestart_dir.mkdir()
    document = {"pid": 7, "code": 111, "reason": "no device\x1b]0;x\x07\nfake line" + "x" * 1000}
    (paths.prestart_dir / "p.json").write_text(json.dumps(document))
    gate = MachineProcesses(paths).gate("p", 7)
    assert gate is not None
    assert gate.reason.isprintable()
    assert len(gate.reason) == 500


@pytest.mark.parametrize("number", ["1e999", "-1e999", "[1, 1e400]"])
def test_numbers_that_would_be_infinite_are_not_taken(number: str) -> None:
    """They cannot be sent back, and answers on a HiveOT hub repeat the input."""
    with pytest.raises(BadMessage):
        decode_json(number)
    assert decode_json("1e300") == 1e300


def test_an_input_too_large_to_be_repeated_still_gets_its_answer(tmp_path: Path) -> None:
    """The error answer failed for the same reason as the answer, so none came."""
    wire = Wire()
    client = WssHubClient("wss://localhost:8444", ACCOUNT)
    agent = AskedAgent(tmp_path, client, wire)
    request = {"messageType": "request", "operation": "invokeaction", "thingID": "Admin", "correlationID": "c"}
    for name in ("listPlugins", "nonsense"):
        wire.sent.clear()
        client.link_frame(json.dumps(request | {"name": name, "senderID": "x", "input": "x" * 17_000_000}).encode())
        agent.work()
        agent.asked.clear()
        [(_, payload)] = wire.sent
        answer = decode(payload)
        assert isinstance(answer, ResponseMessage)
        assert answer.error is not None
    agent.close()


def test_a_notice_about_something_that_is_no_name_is_ignored(tmp_path: Path) -> None:
    """A list cannot be looked up, and the exception was logged with a traceback."""
    check = listener(tmp_path).check
    for plugin in (["zwave"], {"a": 1}, None, 5):
        payload = "type:hiveot\n" + json.dumps({"op": "disable", "plugin": plugin})
        head = f"ver:3.0 serial:1 poolserial:1 eventname:REMOTE_COMMUNICATION len:{len(payload)}\n"
        check((head + payload).encode())


def test_endless_empty_fragments_take_no_memory(tmp_path: Path) -> None:
    """Each left an entry in a list that only the last fragment emptied."""
    wss_frames(tmp_path).check(b"!" + b"\x01\x00" + b"\x00\x00" * 200_000)


def test_an_observer_of_a_hiveot_hub_survives_any_directory(tmp_path: Path) -> None:
    wire = Wire()
    client = WssHubClient("wss://localhost:8444", ACCOUNT)
    agent = AskedAgent(tmp_path, client, wire)
    seen: list[object] = []
    client._observers._link = wire  # type: ignore[attr-defined]
    client.subscribe([NotificationKind.TD], seen.append)
    change = {"messageType": "notification", "operation": "subscribeevent", "thingID": "dtw:digitwin:ThingDirectory"}
    for value in (DEEP, '"x"', "[]", '{"id": 5}', None, '{"id": "dtw:a:t"}'):
        client.link_frame(json.dumps(change | {"name": "thingUpdated", "value": value}).encode())
    assert len(seen) == 1
    agent.close()


@pytest.mark.parametrize(
    "packets",
    [
        b"\x20\x00",  # CONNACK without a return code
        b"\x20\x02\x00\x00\x90\x02\x00\x01",  # SUBACK without one
        b"\x20\x02\x00\x00\x32\x00",  # PUBLISH without a topic
        b"\x20\x02\x00\x00\x90" + b"\x80" * 10_000,  # a length that never ends
    ],
)
def test_what_is_no_mqtt_is_told_as_a_hub_error(packets: bytes, tmp_path: Path) -> None:
    """IndexError, struct.error, and a number of 21,000 digits."""
    mqtt_packets(tmp_path).check(packets)


def test_years_of_two_digits_are_read_as_certificates_mean_them() -> None:
    """Python takes 52 for 2052, X.509 for 1952: an expired certificate looked valid for decades."""
    pem = certificates.create_ca(certificates.new_server_key(), now=time.time())
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    start = der.index(b"\x17\x0d") + 2  # the first UTCTime, notBefore
    for years, century in (("49", 20), ("50", 19), ("68", 19), ("70", 19), ("00", 20)):
        changed = der[:start] + years.encode() + der[start + 2 :]
        text = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(changed) + b"-----END CERTIFICATE-----\n"
        begin = certificates.parse(text).not_valid_before_utc
        assert begin.year == int(f"{century}{years}")
        assert expiry.certificate_period(text).start == begin.timestamp()


def test_a_journal_with_a_strange_state_can_be_shown() -> None:
    """A dictionary cannot be looked up among the quiet states."""
    change = {"state": {"a": 1}, "cause": ["x"], "note": {"b": 2}, "uptime": "long"}
    events = [Event(1.0, "stopped", "other", "other"), Event(1.0, "pluginStateChanged", "zwave", change)]
    assert len(list(eventlines.lines(events, color=False))) == 2


@pytest.mark.parametrize(
    "answer",
    [
        b'{"responses": ' + DEEP.encode(),
        b'{"responses": [{"command": "' + b"a" * 5000 + b'", "correlationData": "MARK", "error": "no"}]}',
        b'{"responses": [{"command": "x", "correlationData": "MARK", "error": "' + b"a" * 5000 + b'"}]}',
    ],
)
def test_any_answer_of_dynamic_security_is_a_bounded_refusal(answer: bytes, tmp_path: Path) -> None:
    """RecursionError, and errors as long as the broker liked."""
    dynsec_answers(tmp_path).check(answer)
