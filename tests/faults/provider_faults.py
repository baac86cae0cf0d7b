"""The faults of the provider itself: scripted into its answers, at any frame of any call."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from tests.faults.answers import Answer
from tests.faults.rounds import Fault, Round, everybody

_MORE_FRAMES = 6
"""Beyond the tokens: what begins and ends a message and its blocks."""


def _script(now: Round, answer: Answer, kind: str) -> dict[str, Any]:
    """Return the fault at a random frame."""
    at = answer.struck_index = now.rng.randrange(answer.script["tokens"] + _MORE_FRAMES)
    match kind:
        case "cut":
            return {"cut_at": at, "cut": now.rng.choice(("reset", "close", "eof"))}
        case "stall":
            return {"stall_at": at}  # in silence: a server that pings is at work
        case "error":
            return {"error_at": at, "error_type": now.rng.choice(("overloaded_error", "api_error"))}
        case _:
            return {"status": int(kind), "headers": now.rng.choice((None, {"retry-after": "1"}))}


def _prepare(now: Round, kind: str) -> None:
    """Have the first call of each answer fail, sometimes the second as well, and sometimes all there may be."""
    for answer in now.answers:
        answer.script |= _script(now, answer, kind) | {"attempts": [1]}
        chance = now.rng.random()
        if chance < 0.1 and kind != "stall":
            answer.script["attempts"] = [1, 2, 3]
            answer.expected = replace(answer.expected, status="failed")
            for name in ("cut_at", "error_at"):
                if name in answer.script:
                    answer.script[name] = now.rng.randrange(3)  # any call has so many frames
        elif chance < 0.3:
            answer.script["attempts"] = [1, 2]


def _fault(name: str, kind: str, share: int) -> Fault:
    return Fault(name, everybody, partial(_prepare, kind=kind), share=share)


PROVIDER_FAULTS = [
    _fault("provider-cut", "cut", 120),
    _fault("provider-stall", "stall", 60),
    _fault("provider-error", "error", 80),
    _fault("provider-429", "429", 40),
    _fault("provider-500", "500", 20),
    _fault("provider-529", "529", 40),
]
