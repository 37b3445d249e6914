"""In which order plugins start, and which wait for each other in a circle. Pure, for names and their dependencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def start_order(names: Sequence[str], needs: Mapping[str, Sequence[str]]) -> list[str]:
    """`names` with each one after those it needs, otherwise as given. Needs that are not in `names` do not count.

    With a circle in `needs` the order inside it is arbitrary, but every name comes exactly once.
    """
    known = set(names)
    done: dict[str, None] = {}
    seen: set[str] = set()
    for first in names:
        stack = [] if first in seen else [(first, iter(needs.get(first, ())))]
        seen.add(first)
        while stack:
            name, rest = stack[-1]
            following = next((n for n in rest if n in known and n not in seen), None)
            if following is None:
                done[name] = None
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(needs.get(following, ()))))
    return list(done)


MAX_CYCLES = 20
"""So many circles are looked for; there can be more of them than plugins."""


def cycles(needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Circles, each as the names along it without repetition; without their last steps nothing waits for itself.

    At most MAX_CYCLES are returned; there is none only when the result is empty.
    """
    left = {name: list(needed) for name, needed in needs.items()}
    found: list[list[str]] = []
    while len(found) < MAX_CYCLES and _drop_free(left):
        path: dict[str, int] = {}
        name = next(iter(left))
        while name not in path:
            path[name] = len(path)
            name = next(n for n in left[name] if n in left)
        circle = list(path)[path[name] :]
        found.append(circle)
        left[circle[-1]].remove(circle[0])
    return found


def _drop_free(left: dict[str, list[str]]) -> bool:
    """Remove everything that does not wait for something in `left`; True when something remains."""
    waiting = {name: sum(n in left for n in needs) for name, needs in left.items()}
    dependents: dict[str, list[str]] = {}
    for name, needs in left.items():
        for need in needs:
            dependents.setdefault(need, []).append(name)
    free = [name for name, count in waiting.items() if count == 0]
    while free:
        name = free.pop()
        del left[name]
        for dependent in dependents.get(name, ()):
            waiting[dependent] -= 1
            if waiting[dependent] == 0:
                free.append(dependent)
    return bool(left)
