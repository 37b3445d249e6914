from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.supervisord.answers import ProcessInfo, from_struct, parse_mood, parse_status
from hiveot_supervisor.supervisord.extension import _status_line
from hiveot_supervisor.supervisord.extension_child import Ending
from hiveot_supervisor.supervisord.states import Mood, ProcessState

WHEN = st.floats(0, 4e9).map(lambda value: round(value, 6))


@given(
    st.text(min_size=1),
    st.text(min_size=1),
    st.sampled_from(ProcessState),
    st.integers(0, 1 << 22),
    WHEN,
    WHEN,
    st.none() | st.integers(0, 255) | st.integers(-64, -1),
    st.none() | st.text(),
)
def test_the_compact_status_survives_any_text(
    name: str, group: str, state: ProcessState, pid: int, start: float, stop: float, code: int | None, error: str | None
) -> None:
    ending = None if code is None else Ending(pid, max(code, -1), max(-code, 0), 1, 0.1)
    process = SimpleNamespace(
        state=state.value, pid=pid, laststart=start, laststop=stop, spawnerr=error, hiveot_ending=ending
    )
    [info] = parse_status(f"mood:1 pid:1\n{_status_line(name, group, process)}")
    exitcode = code if code is not None and code >= 0 else None
    killed_by = -code if code is not None and code < 0 else None
    assert info == ProcessInfo(name, group, state, pid, start, stop, exitcode, killed_by, error or "")


def test_mood_of_the_status_text() -> None:
    assert parse_mood("mood:-1 pid:5\na a 0 0 0 0   ") is Mood.SHUTDOWN
    assert parse_status("mood:-1 pid:5") == []


def struct(**fields: object) -> dict[str, object]:
    usual = {"name": "a", "group": "g", "state": 100, "pid": 0, "start": 5, "stop": 9, "exitstatus": 3, "spawnerr": "x"}
    return usual | fields


def test_supervisords_own_answer() -> None:
    assert from_struct(struct()) == ProcessInfo("a", "g", ProcessState.EXITED, 0, 5.0, 9.0, 3, None, "x")


def test_an_exit_status_is_only_believed_when_it_can_be_one() -> None:
    assert from_struct(struct(exitstatus=-1)).exitcode is None  # some signal
    assert from_struct(struct(state=20, exitstatus=0)).exitcode is None  # runs
    assert from_struct(struct(state=0, stop=0, exitstatus=0)).exitcode is None  # never ran
    assert from_struct(struct(state=0, exitstatus=0)).exitcode == 0
