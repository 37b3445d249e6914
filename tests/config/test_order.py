"""Start order and circles, against what they must hold for any graph."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.config.order import cycles, start_order

NAMES = [f"p{n}" for n in range(12)]


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
    return {name: draw(st.lists(st.sampled_from(names), unique=True, max_size=4)) for name in names}


def acyclic(needs: dict[str, list[str]]) -> bool:
    """Plain check by repeated removal."""
    left = {name: set(needed) for name, needed in needs.items()}
    while True:
        free = [name for name, needed in left.items() if not needed & left.keys()]
        if not free:
            return not left
        for name in free:
            del left[name]


@given(graphs())
def test_order_has_every_name_once_and_dependencies_first(needs: dict[str, list[str]]) -> None:
    order = start_order(list(needs), needs)
    assert sorted(order) == sorted(needs)
    if acyclic(needs):
        place = {name: number for number, name in enumerate(order)}
        assert all(place[need] < place[name] for name, needed in needs.items() for need in needed)


@given(st.lists(st.sampled_from(NAMES), unique=True))
def test_order_without_dependencies_is_the_list(names: list[str]) -> None:
    assert start_order(names, {}) == names


@given(graphs())
def test_cycles_are_real_and_found_exactly_when_there_are_some(needs: dict[str, list[str]]) -> None:
    found = cycles(needs)
    assert (found == []) == acyclic(needs)
    for circle in found:
        assert len(set(circle)) == len(circle)
        for name, need in zip(circle, [*circle[1:], circle[0]], strict=True):
            assert need in needs[name]


def test_only_what_must_move_moves() -> None:
    assert start_order(["a", "b", "c", "d"], {"a": ["c"]}) == ["c", "a", "b", "d"]
    assert start_order(["a"], {"a": ["elsewhere"]}) == ["a"]


def test_long_chains_need_no_stack() -> None:
    names = [f"p{n}" for n in range(20_000)]
    needs = {name: [following] for name, following in itertools.pairwise(names)}
    assert start_order(names, needs) == names[::-1]
    needs[names[-1]] = [names[0]]
    assert [len(circle) for circle in cycles(needs)] == [20_000]
