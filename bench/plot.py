"""The result as a picture: how far each target is, and where the CPU of a token goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_MOST_SHOWN = 4.0
_GOOD, _BAD = "#2a7f62", "#b3412f"
_COLOURS = {"redis": "#7a5195", "relay": "#2a6f97", "worker": "#e0a030"}


def draw(result: dict[str, Any], path: Path) -> bool:
    """Write an SVG and return true; false, and nothing is written, where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, which only this needs
    except ImportError:
        return False
    figure = Figure(figsize=(11, 9), layout="constrained")
    targets, costs = figure.subplots(2, 1, height_ratios=(3, 2))
    _draw_targets(targets, [row for row in result["rows"] if row["target"]])
    _draw_costs(costs, result["measured"].get("loads", {}).get("loads", []))
    figure.suptitle(f"Tailrace, measured {result['machine']['at']}")
    figure.savefig(path, format="svg", metadata={"Date": None})
    return True


def _draw_targets(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Draw each row as its part of what it may be."""
    rows.reverse()  # the first row at the top
    shares = [_share(row) for row in rows]
    colours = [_BAD if row["missed"] else _GOOD for row in rows]
    axes.barh(range(len(rows)), shares, color=colours)
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlim(0, max([1.5, *(min(share, _MOST_SHOWN) for share in shares)]))
    axes.set_xlabel("used of what the target allows (1: just reached)")


def _label(row: dict[str, Any]) -> str:
    """Return a row's name, with the percentile or the process where a name stands for two rows."""
    marks = [mark for mark in ("p50", "p99", "each worker", "each relay") if row["what"].endswith(mark)]
    return " ".join([row["name"], *marks])


def _share(row: dict[str, Any]) -> float:
    """Return how much of what it may be a row is; below 1 it is reached, and nothing is below 0."""
    reached, target = max(row["reached"], 0.0), row["target"]
    if row["at_least"]:
        return float(target / reached) if reached else _MOST_SHOWN
    return float(reached / target)


def _draw_costs(axes: Any, loads: list[dict[str, Any]]) -> None:
    """Draw the CPU per token of every load of the last round, by process."""
    last = {(load["target"], load["streams"]): load for load in loads}
    for at, load in enumerate(last.values()):
        bottom = 0.0
        for name, us in load["part_us"].items():
            axes.bar(at, us, bottom=bottom, color=_COLOURS.get(name, "#888888"))
            bottom += us
    axes.set_xticks(range(len(last)), [f"{target}\n{streams}" for target, streams in last])
    axes.set_ylabel("CPU per token, us")
    for name, colour in _COLOURS.items():
        axes.bar(0, 0, color=colour, label=name)
    axes.legend(frameon=False)
