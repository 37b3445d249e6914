from __future__ import annotations

import pytest
from supervisor import events, process, states, xmlrpc

from hiveot_supervisor.supervisord.states import ALIVE, STOPPABLE, EventName, Fault, Mood, ProcessState


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(ProcessState, states.ProcessStates), (Mood, states.SupervisorStates), (Fault, xmlrpc.Faults)],
)
def test_codes_are_those_of_supervisor(ours: type, theirs: type) -> None:
    assert {m.name: m.value for m in ours} == {k: v for k, v in vars(theirs).items() if k[0] != "_"}


def test_event_names_and_their_states_are_those_of_supervisor() -> None:
    classes = process.Subprocess.event_map
    for name in EventName:
        kind = getattr(events.EventTypes, name.value)
        if name.state is None:
            assert not issubclass(kind, events.ProcessStateEvent)
        else:
            assert classes[name.state] is kind
    assert set(classes) == {n.state for n in EventName if n.state is not None}


def test_state_sets_are_those_of_supervisor() -> None:
    assert set(states.RUNNING_STATES) == STOPPABLE
    assert set(states.SIGNALLABLE_STATES) == ALIVE
