"""The checker of the fault suite finds what it is there to find: the product's own code has no part in it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.checker import Expected, SseParser, Transcript, joined

EXPECTED = Expected("w0 w1 w2 w3", [("weigh", {"grams": 1})])
BEGUN: list[tuple[str, dict[str, Any]]] = [
    ("start", {}),
    ("attempt", {"attempt": 1, "reason": "first"}),
    ("block_start", {"block": 0, "kind": "text"}),
    *(("delta", {"block": 0, "text": text}) for text in ("w0", " w1", " w2", " w3")),
]
REST: list[tuple[str, dict[str, Any]]] = [
    ("block_stop", {"block": 0}),
    ("block_start", {"block": 1, "kind": "tool_use", "name": "weigh"}),
    ("delta", {"block": 1, "json": '{"grams"'}),
    ("delta", {"block": 1, "json": ": 1}"}),
    ("end", {"status": "completed"}),
]


def reading(*told: tuple[str, dict[str, Any]], expected: Expected = EXPECTED, mode: str = "post") -> Transcript:
    """Return what a reader was told, at one event a second, with offsets that increase."""
    transcript = Transcript(mode, expected)
    for number, (name, data) in enumerate(told, start=1):
        transcript.tell(f"o-{number:03d}", name, {"type": name, **data}, float(number))
    return transcript


def test_an_answer_told_once_and_in_order_is_right() -> None:
    """Nothing is found where nothing is wrong."""
    told = reading(*BEGUN, *REST)
    assert (told.problems, told.ended, told.text, told.attempts()) == ([], True, EXPECTED.text, ["first"])
    assert told.silence_after(2.5) == 1.0


@pytest.mark.parametrize(
    ("told", "duplicates", "losses"),
    [
        ([*BEGUN[:5], BEGUN[4], *BEGUN[5:], *REST], 1, 0),
        ([*BEGUN[:4], *BEGUN[5:], *REST], 0, 1),
        ([*BEGUN[:4], BEGUN[5], BEGUN[4], *BEGUN[6:], *REST], 0, 1),
        ([*BEGUN[:-1], *REST], 0, 1),
        ([*BEGUN, REST[0], REST[-1]], 0, 1),
        ([*BEGUN, *REST[:-1], ("end", {"status": "failed"})], 0, 1),
        ([*BEGUN[:2], *BEGUN[3:], *REST], 0, 4),
    ],
    ids=["doubled", "left out", "swapped", "cut short", "no tool call", "failed", "no block"],
)
def test_what_is_wrong_with_the_text_is_told(
    told: list[tuple[str, dict[str, Any]]], duplicates: int, losses: int
) -> None:
    """Doubled, left out, in another order, cut short, without its tool call, failed."""
    found = reading(*told)
    assert found.problems
    assert (found.duplicates, min(found.losses, losses)) == (duplicates, losses)


def test_an_event_after_the_end_is_wrong() -> None:
    """There is exactly one end, and it is the last."""
    assert reading(*BEGUN, *REST, REST[-1]).problems == ["'end' came after the end"]


@pytest.mark.parametrize("again", ["o-003", "o-001"])
def test_an_offset_that_does_not_increase_is_a_duplicate(again: str) -> None:
    """The same one, and an earlier one."""
    told = reading(*BEGUN[:3])
    told.tell(again, "delta", {"type": "delta", "block": 0, "text": "w0"}, 9.0)
    assert told.duplicates == 1
    assert "does not come after" in told.problems[0]


def test_a_reset_in_the_log_discards_blocks_and_the_rest_must_follow() -> None:
    """What is told anew counts, not what was discarded."""
    told = reading(*BEGUN[:5], ("reset", {"keep_blocks": 0}), *BEGUN[2:], *REST)
    assert (told.problems, told.resets, told.forks) == ([], 1, 0)
    assert reading(*BEGUN[:5], ("reset", {"keep_blocks": 1}), *BEGUN[3:], *REST).duplicates == 1


def test_a_fork_begins_anew_and_is_counted() -> None:
    """A reset whose offset leads back: everything is told again, and compared from there."""
    told = reading(*BEGUN[:5])
    told.tell("o-000", "reset", {"type": "reset", "keep_blocks": 0}, 6.0)
    for number, (name, data) in enumerate([*BEGUN, *REST], start=1):
        told.tell(f"o-{number:03d}", name, {"type": name, **data}, 6.0 + number)
    assert (told.problems, told.forks, told.resets, told.ended) == ([], 1, 1, True)
    told.same_as(reading(*BEGUN, *REST))
    assert told.problems == []


def test_a_reading_that_is_not_the_log_has_lost_something() -> None:
    """Events that are no text count as well."""
    told = reading(*BEGUN, *REST)
    told.same_as(reading(*BEGUN[:2], ("usage", {}), *BEGUN[2:], *REST))
    assert told.losses == 1


def test_deltas_told_as_one_are_the_same_as_told_singly() -> None:
    """A reader that catches up may be told them so; the offset must be the last one's."""
    merged, whole = Transcript("post", EXPECTED), reading(*BEGUN, *REST)
    for told in joined(whole.events):
        merged.tell(told.id, told.name, told.data, told.at_s)
    assert len(merged.events) == len(whole.events) - 4
    merged.same_as(whole)
    assert merged.problems == []
    merged.events[3].id = "o-006"
    merged.same_as(whole)
    assert merged.losses == 1


def test_a_failed_answer_may_have_but_a_beginning() -> None:
    """Its text is kept, and is no other text."""
    failed, end = Expected(EXPECTED.text, status="failed"), ("end", {"status": "failed"})
    assert reading(*BEGUN[:5], end, expected=failed).problems == []
    assert reading(*BEGUN[:3], BEGUN[4], end, expected=failed).problems


def test_a_state_is_compared_as_a_whole() -> None:
    """What ``?wait=`` answers."""
    block = {"kind": "text", "text": "w0"}
    state = {"text": "w0", "blocks": [block], "status": "completed", "offset": "o-9"}
    right, wrong = Transcript("wait", Expected("w0")), Transcript("wait", Expected("w0 w1"))
    right.state(state, 1.0)
    wrong.state(state, 1.0)
    assert (right.problems, right.ended, wrong.losses) == ([], True, 1)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_server_sent_events_are_read_whatever_pieces_they_come_in(size: int) -> None:
    """Comments and unknown fields are none, half an event is kept back."""
    text = (
        b': hi\nretry: 5\n\nid: a\nevent: delta\ndata: {"x":\ndata: 1}\n\ndata: y\r\n\r\nid: b\nevent: end\ndata: z\n'
    )
    parser = SseParser()
    frames = [frame for at in range(0, len(text), size) for frame in parser.feed(text[at : at + size])]
    assert frames == [("a", "delta", '{"x":\n1}'), ("a", "message", "y")]
    assert parser.feed(b"\n") == [("b", "end", "z")]
