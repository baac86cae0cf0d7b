"""What is told together: runs of deltas of one block become one, and nothing changes places."""

from __future__ import annotations

import random

import msgspec
import pytest

from shared.events import BlockStartEvent, BlockStopEvent, DeltaEvent, Event, UsageEvent
from shared.events import Usage as Used
from worker.merging import merged

_RAW = msgspec.Raw(b'{"type":"citation"}')


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([], []),
        ([DeltaEvent(0, text="a")], [DeltaEvent(0, text="a")]),
        ([DeltaEvent(0, text="a"), DeltaEvent(0, text="b")], [DeltaEvent(0, text="ab")]),
        ([DeltaEvent(0, json="{"), DeltaEvent(0, json="}")], [DeltaEvent(0, json="{}")]),
        ([DeltaEvent(0, text="a"), DeltaEvent(1, text="b")], [DeltaEvent(0, text="a"), DeltaEvent(1, text="b")]),
        ([DeltaEvent(0, text="a"), DeltaEvent(0, json="b")], [DeltaEvent(0, text="a"), DeltaEvent(0, json="b")]),
        ([DeltaEvent(0, signature="a"), DeltaEvent(0, signature="b")],) * 2,
        ([DeltaEvent(0, data=_RAW), DeltaEvent(0, data=_RAW)],) * 2,
        (
            [DeltaEvent(0, text="a"), UsageEvent(1, Used(1, 2)), DeltaEvent(0, text="b"), DeltaEvent(0, text="c")],
            [DeltaEvent(0, text="a"), UsageEvent(1, Used(1, 2)), DeltaEvent(0, text="bc")],
        ),
    ],
)
def test_only_neighbours_of_one_kind_are_merged(events: list[Event], told: list[Event]) -> None:
    """Text with text, arguments with arguments, of one block; what has no canonical form stays as it is."""
    assert merged(events) == told


@pytest.mark.parametrize("seed", range(20))
def test_what_a_reader_adds_up_to_is_the_same(seed: int) -> None:
    """Every block has the same content and the same place, for random events, and no run is left unmerged."""
    chance = random.Random(seed)
    events = [_any_event(chance) for _ in range(chance.randrange(60))]
    told = merged(events)
    assert _folded(told) == _folded(events)
    assert merged(told) == told


def _any_event(chance: random.Random) -> Event:
    block, said = chance.randrange(2), chance.choice(("a", "b", ""))
    return chance.choice(
        (
            DeltaEvent(block, text=said),
            DeltaEvent(block, text=said),
            DeltaEvent(block, json=said),
            DeltaEvent(block, signature=said),
            BlockStartEvent(block, "text"),
            BlockStopEvent(block),
        )
    )


def _folded(events: list[Event]) -> list[object]:
    """Return the characters of all events in their order, each with whose it is, and the other events."""
    folded: list[object] = []
    for event in events:
        if isinstance(event, DeltaEvent) and event.signature is None:
            folded += [(event.block, event.json is None, letter) for letter in (event.text or event.json or "")]
        else:
            folded.append(event)
    return folded
