"""The state file: what is stored survives, what is damaged is set aside, readers see it while it is written."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from hiveot_supervisor.agent.state import Event, Reader, Record, State
from hiveot_supervisor.errors import HiveotError


def file_in(folder: Path) -> Path:
    return folder / "launcher" / "launcher.db"


def test_records_and_events_survive_reopening(tmp_path: Path) -> None:
    state = State(file_in(tmp_path))
    state.save(Record("a", enabled=False, start_count=3, exit_code=7))
    first = state.append(Event(1.5, "started", "a", "a"))
    epoch = state.epoch
    state.close()
    again = State(file_in(tmp_path))
    assert again.records() == {"a": Record("a", enabled=False, start_count=3, exit_code=7)}
    assert [(e.seq, e.name, e.value) for e in again.unsent(0, 10)] == [(first.seq, "started", "a")]
    assert again.epoch == epoch


def test_numbers_go_on_after_everything_was_acknowledged_and_reopened(tmp_path: Path) -> None:
    state = State(file_in(tmp_path))
    seqs = [state.append(Event(0, "started", "a", "a")).seq for _ in range(3)]
    state.acknowledged(seqs)
    assert state.backlog() == 0
    state.close()
    assert State(file_in(tmp_path)).append(Event(0, "stopped", "a", "a")).seq == seqs[-1] + 1


def test_a_failed_transaction_leaves_neither_record_nor_event(tmp_path: Path) -> None:
    state = State(file_in(tmp_path))

    def half() -> None:
        with state.transaction():
            state.save(Record("a"))
            state.append(Event(0, "started", "a", "a"))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        half()
    assert state.records() == {}
    assert state.backlog() == 0


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    State(file_in(tmp_path))
    assert stat.S_IMODE(file_in(tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE(file_in(tmp_path).parent.stat().st_mode) == 0o700


def test_a_damaged_file_is_set_aside_and_the_agent_comes_up(tmp_path: Path) -> None:
    path = file_in(tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"this is no database, and long enough to be looked at" * 100)
    state = State(path)
    assert "damaged" in state.recovered
    assert path.with_name("launcher.db.damaged").exists()
    state.append(Event(0, "started", "a", "a"))


def test_readers_follow_while_it_is_written(tmp_path: Path) -> None:
    state = State(file_in(tmp_path))
    reader = Reader(file_in(tmp_path))
    assert reader.events() == []
    for name in ("a", "b", "c"):
        state.append(Event(0, "started", name, name))
    assert [e.plugin for e in reader.events(last=2)] == ["b", "c"]
    assert [e.plugin for e in reader.events(after=1)] == ["b", "c"]
    state.save(Record("a", note="hello"))
    assert reader.records()["a"].note == "hello"


def test_a_reader_without_a_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HiveotError, match="no state file") as caught:
        Reader(file_in(tmp_path))
    assert caught.value.hint == "hiveot-launcher up"
