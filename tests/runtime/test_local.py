"""The runtime's checks of its own broker: the probe must find every hole, and settling must wait for what is stored."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes.home import until
from fakes.runtimes import LocalBroker

from hiveot_supervisor.runtime import local
from hiveot_supervisor.runtime.local import ProbeFailed, probe, settle
from hiveot_supervisor.runtime.logins import PROBE_USER, Admission
from hiveot_supervisor.runtime.roles import EVERYTHING, Grants, Role, grants


@pytest.fixture
def leaky(broker: LocalBroker) -> Iterator[LocalBroker]:
    """A broker whose rights a test may spoil."""
    yield broker
    del broker.door.admit  # type: ignore[method-assign]


def spoil(broker: LocalBroker, user: str, rights: Grants) -> None:
    real = broker.door.admit

    def admit(name: str, password: str, mqtt_id: str) -> Admission:
        admission = real(name, password, mqtt_id)
        return Admission(rights, admission.expires) if name == user else admission

    broker.door.admit = admit  # type: ignore[method-assign]


def test_the_probe_passes_and_leaves_nothing(broker: LocalBroker) -> None:
    before = broker.broker.retained()
    probe(broker.logins)
    probe(broker.logins)
    until(lambda: broker.broker.retained() == before)  # the server removes it a moment after its PUBACK


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
def test_the_probe_finds_the_hole(leaky: LocalBroker, rights: Grants, text: str) -> None:
    spoil(leaky, PROBE_USER, rights)
    with pytest.raises(ProbeFailed) as caught:
        probe(leaky.logins)
    assert text in str(caught.value)


def test_a_probe_that_could_not_see_a_hole_fails_too(leaky: LocalBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_POSITIVE_TIMEOUT", 0.3)
    spoil(leaky, "~runtime", Grants(publish=("#",), subscribe=("hiveot/td/#",)))
    with pytest.raises(ProbeFailed, match="does not deliver"):
        probe(leaky.logins)


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
