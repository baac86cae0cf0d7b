"""What our processes write to stderr: a line of JSON for each event, whatever is in it."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

_WRITES = """
import logging, sys
import structlog
from shared.logs import configure_logs
from shared.settings import Settings

configure_logs(Settings(log_json=sys.argv[1] == "json"))
structlog.contextvars.bind_contextvars(process=2)
log = structlog.get_logger().bind(stream="abc")
log.debug("nobody asked for this")
log.info("plain", count=1, of=2.5, nothing=None)
log.info("plain", breaks="a\\x85b\\u2028c")
log.warning("odd", text="half \\ud83d, whole \\U0001f600\\nand a line", thing=object, names={"a": (1, 2)}, raw=b"x")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
logging.getLogger("library").warning("of a library: %s", "said")
"""


def _written(form: str) -> list[str]:
    """Return the lines that a process writes whose logs have a form."""
    command = [sys.executable, "-c", _WRITES, form]
    return subprocess.run(command, check=True, capture_output=True, timeout=30).stderr.decode().splitlines()


def test_each_event_is_a_line_of_json_with_its_level_and_time() -> None:
    """Our own events, and those of the libraries."""
    events: list[dict[str, Any]] = [json.loads(line) for line in _written("json")]
    assert [(one["event"], one["level"]) for one in events] == [
        ("plain", "info"),
        ("plain", "info"),
        ("odd", "warning"),
        ("failed", "error"),
        ("of a library: said", "warning"),
    ]
    for one in events:
        written = datetime.fromisoformat(one["timestamp"])
        assert one["timestamp"].endswith("Z")
        assert abs((datetime.now(UTC) - written).total_seconds()) < 60
        assert one["process"] == 2
    plain, breaks, odd, failed, _ = events
    assert breaks["breaks"] == "a\x85b\u2028c"
    assert plain.items() >= {"stream": "abc", "count": 1, "of": 2.5, "nothing": None}.items()
    assert odd["text"] == "half \ud83d, whole \U0001f600\nand a line"
    assert (odd["thing"], odd["raw"]) == ("<class 'object'>", "b'x'")
    assert odd["names"] == {"a": [1, 2]}
    assert failed["exception"].splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_for_a_persons_eyes_an_event_is_told_in_words() -> None:
    """With its traceback on lines of its own."""
    written = _written("words")
    assert "plain" in written[0]
    assert "ZeroDivisionError: division by zero" in "\n".join(written)
