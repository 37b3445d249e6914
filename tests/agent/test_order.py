"""Whose turn it is: list order, explicit dependencies, parallel branches."""

from __future__ import annotations

from hiveot_supervisor.agent.order import WINDOW, Step, turn
from hiveot_supervisor.model import Condition, Dependency, PluginState

S = PluginState


def listed(name: str, state: PluginState = S.STOPPED, **more: object) -> Step:
    more.setdefault("wanted", state is S.STOPPED)
    return Step(name, state, chained=True, **more)  # type: ignore[arg-type]


def up(name: str, *, ready: bool = True) -> Step:
    return Step(name, S.RUNNING, chained=True, executed=True, ready=ready)


def needs(*names: str, condition: Condition = Condition.STARTED) -> tuple[Dependency, ...]:
    return tuple(Dependency(n, condition) for n in names)


def test_the_first_of_the_list_starts_alone() -> None:
    assert turn([listed("a"), listed("b"), listed("c")]).start == ["a"]


def test_the_next_waits_until_the_previous_is_ready() -> None:
    assert turn([up("a", ready=False), listed("b")]).start == []
    assert turn([up("a"), listed("b"), listed("c")]).start == ["b"]


def test_a_predecessor_that_is_starting_is_waited_for() -> None:
    assert turn([listed("a", S.STARTING, wanted=False), listed("b")]).start == []


def test_a_predecessor_that_will_not_run_is_passed_over() -> None:
    for state in (S.FAILED, S.BACKOFF, S.WAITING, S.MISSING, S.EXITED):
        assert turn([listed("a", state, wanted=False), listed("b")]).start == ["b"]


def test_dependencies_replace_the_list_order_and_branches_start_in_parallel() -> None:
    steps = [
        listed("slow"),
        up("history"),
        listed("x", depends_on=needs("history")),
        listed("y", depends_on=needs("history")),
    ]
    assert turn(steps).start == ["slow", "x", "y"]


def test_ready_is_more_than_started() -> None:
    waiting = [up("db", ready=False), listed("app", depends_on=needs("db", condition=Condition.READY))]
    assert turn(waiting).start == []
    assert turn(waiting).waiting == {"app": "waits for db (running)"}
    assert turn([up("db"), waiting[1]]).start == ["app"]


def test_a_failing_dependency_is_named_with_its_reason() -> None:
    steps = [
        listed("db", S.BACKOFF, wanted=False, note="exit 3"),
        listed("app", depends_on=needs("db")),
    ]
    assert turn(steps).waiting == {"app": "waits for db (backoff: exit 3)"}


def test_an_unknown_dependency_blocks_with_a_reason() -> None:
    assert turn([listed("app", depends_on=needs("nope"))]).waiting == {"app": "needs nope, which is not configured"}


def test_a_plugin_that_is_not_chained_starts_at_once() -> None:
    assert turn([listed("a", S.STARTING, wanted=False), Step("b", S.STOPPED, wanted=True)]).start == ["b"]


def test_where_nothing_waits_the_list_starts_in_one_go_up_to_the_window() -> None:
    steps = [listed(f"p{n}", at_once=True) for n in range(WINDOW + 3)]
    assert turn(steps).start == [f"p{n}" for n in range(WINDOW)]


def test_those_on_their_way_count_and_the_rest_follows_as_they_are_executed() -> None:
    asked = [listed(f"p{n}", S.STARTING, wanted=False, asked=True, at_once=True) for n in range(WINDOW)]
    rest = [listed("next", at_once=True), listed("last", at_once=True)]
    assert turn([*asked, *rest]).start == []
    executed = Step("p0", S.RUNNING, chained=True, executed=True, ready=True, asked=True, at_once=True)
    assert turn([executed, *asked[1:], *rest]).start == ["next"]


def test_one_that_is_not_asked_for_yet_holds_its_successors_up() -> None:
    """Its credentials are being made: those after it must not come before it."""
    assert turn([listed("a", S.STARTING, wanted=False, at_once=True), listed("b", at_once=True)]).start == []


def test_one_with_a_readiness_check_is_waited_for_in_the_middle_of_the_list() -> None:
    assert turn([listed("a", at_once=True), listed("db"), listed("b", at_once=True)]).start == ["a", "db"]
