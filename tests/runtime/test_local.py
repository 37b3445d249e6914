"""The runtime's checks of its own broker: the probe must find every hole, and settling must wait for what is stored."""

from __future__ import annotations

import pytest
from fakes.runtimes import LocalBroker
from fakes.wait import wait_until

from hiveot_supervisor.runtime import local
from hiveot_supervisor.runtime.local import ProbeFailed, probe, settle
from hiveot_supervisor.runtime.logins import PROBE_USER, RUNTIME_USER
from hiveot_supervisor.runtime.roles import EVERYTHING, Grants, Role, grants


def stored(broker: LocalBroker) -> int:
    with broker.logins.connect() as reader:
        reader.subscribe("#")
        return len(reader.settle())


def test_the_probe_passes_and_leaves_nothing(either: LocalBroker) -> None:
    before = stored(either)
    probe(either.logins)
    probe(either.logins)
    wait_until(lambda: stored(either) == before)  # the server removes it a moment after its PUBACK


OWN = grants(Role.NONE, PROBE_USER)


@pytest.mark.parametrize(
    ("rights", "text"),
    [
        (EVERYTHING, "read"),
        (OWN | Grants(subscribe=("hiveot/td/#",)), "hiveot/td/#"),
        (OWN | Grants(subscribe=("hiveot/admin/authn/#",)), "hiveot/admin/authn/#"),
        (OWN | Grants(subscribe=("#",)), "#"),
        (OWN | Grants(publish=("hiveot/admin/#",)), "hiveot/admin/authn/Admin/addService"),
        (OWN | Grants(publish=("hiveot/event/+/+/+",)), "hiveot/event/authn/Admin/probe"),
        (OWN | Grants(publish=("hiveot/inbox/#",)), "hiveot/inbox/admin/probe/authn"),
        (OWN | Grants(publish=("hiveot/action/#",)), "hiveot/action/authn/User/getProfile/admin"),
    ],
)
def test_the_probe_finds_the_hole(either: LocalBroker, rights: Grants, text: str) -> None:
    with either.spoiled(PROBE_USER, rights), pytest.raises(ProbeFailed) as caught:
        probe(either.logins)
    assert text in str(caught.value)


def test_a_probe_that_could_not_see_a_hole_fails_too(either: LocalBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_POSITIVE_TIMEOUT", 0.3)
    rights = Grants(publish=("#",), subscribe=("hiveot/td/#",))
    with either.spoiled(RUNTIME_USER, rights), pytest.raises(ProbeFailed, match="does not deliver"):
        probe(either.logins)


def test_stored_messages_are_waited_for() -> None:
    """The server loads them after the first login; without waiting a subscriber gets none or some of them."""
    made = LocalBroker()
    try:
        with made.logins.connect() as writer:
            for number in range(1500):
                writer.publish(f"hiveot/td/agent/{number}", b"{}", retain=True)
        made.broker.stop()
        made.start()
        assert settle(made.logins, made.broker.retained) == 1500
        with made.raw("reader", made.add("reader", Role.VIEWER)) as reader:
            reader.subscribe("hiveot/td/#")
            assert len({each.topic for each in reader.settle()}) == 1500
    finally:
        made.close()


def test_nothing_stored_is_no_wait(broker: LocalBroker) -> None:
    assert settle(broker.logins, lambda: 0) == 0
