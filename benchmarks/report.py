"""The comparison's figures as Markdown tables and as a plot."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path

from peers import Peer

BEGIN, END = "<!-- figures: written by `make bench DOCS=1` -->", "<!-- end of figures -->"


class Results:
    """Samples by row, number of workers and peer."""

    def __init__(self) -> None:
        self.samples: dict[tuple[str, int], dict[str, list[float]]] = {}

    def add(self, row: str, count: int, peer: str, *samples: float) -> None:
        self.samples.setdefault((row, count), {}).setdefault(peer, []).extend(samples)

    def median(self, row: str, count: int, peer: str) -> float | None:
        found = self.samples.get((row, count), {}).get(peer)
        return statistics.median(found) if found else None

    def counts(self, row: str) -> list[int]:
        return sorted(count for name, count in self.samples if name == row)


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.1f} ms" if value < 0.1 else f"{1000 * value:.0f} ms"


def megabytes(value: float) -> str:
    return f"{value / 1e6:.0f} MB"


def percent(value: float) -> str:
    return f"{value:.2f} %"


ROWS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("cold", "cold start of N = {n}: command → all run", seconds),
    ("restart", "`kill -9` of a worker → it runs again (N = {n})", seconds),
    ("told", "exit of a worker → another process is told (N = {n})", seconds),
    ("status", "status command (N = {n})", seconds),
    ("stop", "stop of all: command → nothing left (N = {n})", seconds),
    ("pss", "memory of the manager, PSS (N = {n})", megabytes),
    ("rss", "memory of the manager, RSS (N = {n})", megabytes),
    ("idle", "processor time at rest, of one core (N = {n})", percent),
)
GROWTH: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("growth cold", "cold start", seconds),
    ("growth told", "exit → told", seconds),
    ("growth status", "status", seconds),
    ("growth idle", "at rest", percent),
    ("growth pss", "PSS", megabytes),
    ("growth stop", "stop", seconds),
)


def render(
    results: Results, peers: list[Peer], versions: dict[str, str], absent: dict[str, str], failures: list[str], *,
    whole: str, minutes: float, quick: bool,
) -> str:  # fmt: skip
    """The whole page's figures."""
    names = [peer.name for peer in peers]
    told = ", ".join(f"{peer.name}: {peer.how_told}" for peer in peers)
    parts = [
        f"{machine()}. Versions: {', '.join(f'{n} {v}' for n, v in versions.items())}. "
        f"Command: `make bench{' QUICK=1' if quick else ''}` ({minutes:.0f} minutes).",
        "Medians; in brackets the ratio to the best of the row. How another process is told of an exit: " + told + ".",
        "\n".join(main_table(results, names)),
        *(f"Not there: {name} ({reason})." for name, reason in absent.items()),
        *(f"Failed: {text}" for text in failures),
        "### Being told of an exit, in full",
        "\n".join(told_table(results, names)),
        "### Growth",
        "\n".join(growth_table(results, [n for n in names if results.median("growth cold", 10, n)])),
        "### The whole launcher",
        f"```\n{whole.strip()}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    kernel = ".".join(platform.release().split(".")[:2])
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GB, Linux {kernel}, Python {platform.python_version()}"


def main_table(results: Results, names: list[str]) -> list[str]:
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for row, title, show in ROWS:
        for count in results.counts(row):
            values = {n: results.median(row, count, n) for n in names}
            best = min((v for v in values.values() if v is not None), default=0.0)
            cells = [_cell(values[n], best, show) for n in names]
            lines.append(f"| {title.format(n=count)} | " + " | ".join(cells) + " |")
    return lines


def _cell(value: float | None, best: float, show: Callable[[float], str]) -> str:
    if value is None:
        return "–"
    ratio = f" ({value / best:.1f})" if best > 0 and show is not percent else ""
    return f"**{show(value)}**" if value == best else show(value) + ratio


def told_table(results: Results, names: list[str]) -> list[str]:
    lines = ["| | median | p90 | worst | n |", "|---|---|---|---|---|"]
    for count in results.counts("told"):
        for name in names:
            found = sorted(results.samples["told", count].get(name, []))
            if found:
                p90 = found[min(len(found) - 1, int(len(found) * 0.9))]
                cells = [seconds(v) for v in (statistics.median(found), p90, found[-1])]
                lines.append(f"| {name} | " + " | ".join(cells) + f" | {len(found)} |")
    return lines


def growth_table(results: Results, names: list[str]) -> list[str]:
    lines = ["| | N | " + " | ".join(title for _, title, _ in GROWTH) + " |", "|---" * (len(GROWTH) + 2) + "|"]
    for name in names:
        for count in results.counts("growth cold"):
            values = [(results.median(row, count, name), show) for row, _, show in GROWTH]
            cells = ["–" if value is None else show(value) for value, show in values]
            lines.append(f"| {name} | {count} | " + " | ".join(cells) + " |")
    return lines


def insert(page: Path, text: str, results: Results) -> None:
    """Replace the figures of the page, and its plot beside it."""
    stock = page.read_text()
    before, _, rest = stock.partition(BEGIN)
    _, _, after = rest.partition(END)
    picture = plot(results, page.with_suffix(".svg"))
    image = f"![Growth from 10 to 1,000 programs]({picture.name})\n\n" if picture else ""
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{image}{END}{after}")


def plot(results: Results, path: Path) -> Path | None:
    """Start, exit → told, and status over N; None without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "hiveot", "font.size": 9})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    for axis, (row, title, _) in zip(axes, (GROWTH[0], GROWTH[1], GROWTH[2]), strict=True):
        for name in ("ours", "supervisord"):
            points = [(n, v) for n in results.counts(row) if (v := results.median(row, n, name)) is not None]
            if points:
                axis.plot(*zip(*points, strict=True), marker="o", label=name)
        axis.set(title=f"{title} (s)", xlabel="programs", xscale="log", yscale="log")
        axis.grid(visible=True, alpha=0.3)
    if axes[0].has_data():
        axes[0].legend()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    return path
