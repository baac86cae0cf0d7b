"""bench/report.py and bench/plot.py: what a person reads, and when a target counts as missed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from bench import names, report
from bench.plan import BenchError, Plan
from bench.plot import draw
from bench.row import Findings, Row, Table

CHEAP = Row(names.CPU_PROXY, "CPU per token", 60.0, "pass-through", 50.0, "us", "ratio", 1.2, 1.2)
LATE = Row(names.FIRST_TOKEN, "first token, p50", 9.0, "pass-through", 2.0, "ms", "added", 7.0, 4.0)
FEW = Row(names.ONE_CORE, "most streams", 300, "tutorial", 60, "", "ratio", 5.0, 6.0, at_least=True)
LARGE = Row(names.MEMORY, "memory", 15.9, "", None, "KiB", "amount", 15.9, 16.0)
TOLD = Row(names.STARTS, "start and end", 9.0, "", None, "ms", "amount", 9.0)


@pytest.fixture
def result() -> dict[str, Any]:
    """Give a result with a row of every kind."""
    where = {"cpus": 2, "load_1m": 0.1, "python": "3.11", "kernel": "6", "redis": "redis-server", "at": "then"}
    load = {"target": "tailrace", "streams": 200, "part_us": {"redis": 5.0, "relay": 20.0, "worker": 30.0}}
    table = Table("What lies behind", ("a", "b"), [("1", "2")])
    findings = {"some": Findings([LATE, FEW, LARGE, TOLD], [table]), "loads": Findings([CHEAP], [], {"loads": [load]})}
    return report.result_of(Plan(), where, findings, {"idle": "no Redis"})


@pytest.mark.parametrize(("row", "missed"), [(CHEAP, False), (LATE, True), (FEW, True), (LARGE, False), (TOLD, False)])
def test_a_target_is_missed_beyond_it(row: Row, missed: bool) -> None:  # noqa: FBT001
    """Just reached is reached; some targets are the least; without a target nothing is missed."""
    assert row.missed is missed


def test_the_table_tells_targets_and_what_was_reached(result: dict[str, Any]) -> None:
    """In the order of the names, with what lies behind the rows and what was not measured."""
    lines = [" ".join(line.split()) for line in report.text_of(result).splitlines()]
    assert "| cpu-proxy | CPU per token | 60 us | pass-through | 50 us | 1.20x | at most 1.2x: reached |" in lines
    assert "| first-token | first token, p50 | 9 ms | pass-through | 2 ms | +7.0 ms | at most +4 ms: missed |" in lines
    assert "| one-core | most streams | 300 | tutorial | 60 | 5.00x | at least 6.0x: missed |" in lines
    assert "| memory | memory | 15.9 KiB | | | 15.9 KiB | at most 16 KiB: reached |" in lines
    assert "| starts | start and end | 9 ms | | | 9.0 ms | |" in lines
    assert [row["name"] for row in result["rows"]] == [
        name for name in names.ROW_NAMES if name in {row["name"] for row in result["rows"]}
    ]
    assert "| 1 | 2 |" in lines
    assert "Not measured, idle: no Redis" in lines


def test_a_written_result_gives_the_same_report(
    result: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The documents are made from it."""
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result))
    assert report.main(str(path)) == 0
    assert capsys.readouterr().out == report.text_of(result) + "\n"


@pytest.mark.parametrize("text", ["", "[]", "{}", None])
def test_what_is_no_result_is_told_in_a_sentence(text: str | None, tmp_path: Path) -> None:
    """Also a file that is not there."""
    path = tmp_path / "result.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BenchError, match=r"result\.json"):
        report.read_result(path)


def test_the_plot_shows_every_row_with_a_target(result: dict[str, Any], tmp_path: Path) -> None:
    """As an SVG that a browser opens."""
    pytest.importorskip("matplotlib")
    path = tmp_path / "plot.svg"
    assert draw(result, path)
    assert ET.parse(path).getroot().tag.endswith("svg")
    assert path.stat().st_size > 5000
