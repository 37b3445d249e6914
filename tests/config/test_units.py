"""Durations, sizes and percentages: what is read, what is refused, what is guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.config import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("5", 5.0),
        ("1.5", 1.5),
        ("500ms", 0.5),
        ("300ms", 0.3),
        ("1s", 1.0),
        ("1.5h", 5400.0),
        ("1h30m", 5400.0),
        ("2d", 172800.0),
        ("1m30s500ms", 90.5),
        ("1m1m", 120.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "1 s", "1S", "-1s", "1h 30m", "1.s", ".5s", "1e3", "१s", "1w", "1s!", "inf", "0x10"]
)
def test_no_durations(text: str) -> None:
    assert units.parse_duration(text) is None


def test_bare_numbers_have_the_unit_of_their_key() -> None:
    assert units.parse_duration("100", "ms") == 0.1
    assert units.parse_duration("100", "s") == 100.0
    assert units.parse_duration("100", None) is None


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("10 s", "10s"),
        ("10S", "10s"),
        ("10 seconds", "10s"),
        ("5min", "5m"),
        ("1 Hour", "1h"),
        ("1 h 30 min", "1h30m"),
        ("soon", None),
        ("", None),
        ("10 parsecs", None),
        ("a 10 s", None),
        ("1 h, 30 m", "1h30m"),
    ],
)
def test_meant_durations(text: str, guess: str | None) -> None:
    assert units.meant_duration(text) == guess


@given(st.integers(0, 10**12))
def test_formatted_durations_parse_to_the_same(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    text = units.format_duration(seconds)
    assert units.parse_duration(text) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1500", 1500),
        ("10B", 10),
        ("1kB", 1000),
        ("1KB", 1000),
        ("200MB", 200_000_000),
        ("64KiB", 65536),
        ("1.5GB", 1_500_000_000),
        ("0.5MiB", 524288),
        ("1TB", 10**12),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "200M", "200m", "200 MB", "-1MB", "1e6", "1PB", "20mb", "٣MB"])
def test_no_sizes(text: str) -> None:
    assert units.parse_size(text) is None


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("200M", "200MB"),
        ("200m", "200MB"),
        ("200 mb", "200MB"),
        ("1g", "1GB"),
        ("64ki", "64KiB"),
        ("20kb", "20kB"),
        ("lots", None),
        ("5 apples", None),
    ],
)
def test_meant_sizes(text: str, guess: str | None) -> None:
    assert units.meant_size(text) == guess


@given(st.integers(0, 10**16))
def test_formatted_sizes_parse_to_the_same(size: int) -> None:
    assert units.parse_size(units.format_size(size)) == size


@pytest.mark.parametrize(("text", "percent"), [("80%", 80.0), ("0.5%", 0.5), ("400%", 400.0)])
def test_percentages(text: str, percent: float) -> None:
    assert units.parse_percent(text) == percent
    assert units.format_percent(percent) == text


@pytest.mark.parametrize(
    ("text", "guess"), [("80", "80%"), ("0.1", "10%"), ("80 %", "80%"), ("half", None), ("1", "1%"), ("%", None)]
)
def test_no_percentages_but_guesses(text: str, guess: str | None) -> None:
    assert units.parse_percent(text) is None
    assert units.meant_percent(text) == guess


@given(st.text(max_size=30))
def test_no_text_breaks_the_parsers(text: str) -> None:
    for parse in (units.parse_duration, units.parse_size, units.parse_percent):
        assert parse(text) is None or text.isascii()
    for guess in (units.meant_duration, units.meant_size, units.meant_percent):
        meant = guess(text)
        assert meant is None or meant.isascii()
