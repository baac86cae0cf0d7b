"""One round: some answers are asked for, a fault strikes, and in the end everything that was told is checked."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import aiohttp

from tests.faults.answers import Answer, make_answer
from tests.faults.checker import Transcript
from tests.faults.pace import pause
from tests.faults.readers import FOLLOWERS, STARTERS, Mode, Reader, whole_log
from tests.faults.stand import Node, Stand
from tests.support import eventually

MAX_ATTEMPTS = 3
_DEADLINE_S = 45.0
"""From the round's beginning: a reader without an end by then hangs."""
_TRIGGER_S = 20.0
_HANDOVERS = ("lease_expired", "handed_over")


async def everybody(now: Round) -> None:
    """Strike every answer from its beginning: the fault lies in what was prepared."""
    for answer in now.answers:
        answer.struck_s = asyncio.get_running_loop().time() + answer.begins_s


def unprepared(_round: Round) -> None:
    """Prepare nothing."""


def usual_modes(rng: random.Random) -> list[tuple[Mode, float]]:
    """Return how an answer is read and how long after its beginning: by whoever starts it and by two who follow."""
    followers = [(rng.choice(FOLLOWERS), rng.uniform(0, 0.8)) for _ in range(2)]
    return [(rng.choice(STARTERS), 0.0), *followers]


@dataclass(frozen=True)
class Fault:
    """A kind of fault and what may come of it."""

    name: str
    strike: Callable[[Round], Awaitable[None]] = everybody
    prepare: Callable[[Round], None] = unprepared
    share: int = 60
    """How many of a full run's streams it is to strike."""
    broken: bool = False
    """Only answers with a reader whose connection broke count as struck."""
    once: bool = False
    """Nothing but clients, relays or Redis is hurt: exactly one provider call a stream."""
    forks: bool = False
    """Redis may lose what no worker holds: readers may be told to discard everything."""
    streams: int = 20
    pace: tuple[int, float] = (60, 40.0)
    """Tokens, and tokens per second."""
    modes: Callable[[random.Random], list[tuple[Mode, float]]] = usual_modes


@dataclass
class Outcome:
    """What came of a round."""

    fault: str
    seed: str
    struck: list[Answer] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    """Provider calls of each struck answer."""
    problems: list[str] = field(default_factory=list)


class Round:
    """One round on a stand that is whole. ``play`` it once."""

    def __init__(self, stand: Stand, fault: Fault, seed: str) -> None:
        """Take all that chance decides from ``seed``, which names the fault."""
        self.stand = stand
        self.fault = fault
        self.rng = random.Random(seed)
        self.once = fault.once
        self.outcome = Outcome(fault.name, seed)
        self.answers = self._make_answers(seed)
        self.readers: list[Reader] = []

    async def play(self) -> Outcome:
        """Play the round and return what came of it."""
        self.stand.provider.calls.clear()
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector, timeout=_timeout()) as session:
            self.fault.prepare(self)
            tasks = self._start_readers(session)
            striking = asyncio.create_task(self._strike(), name="strike")
            try:
                _, hanging = await asyncio.wait([*tasks, striking], timeout=_DEADLINE_S)
                self._note_hanging(hanging)
            finally:
                for task in (*tasks, striking):
                    task.cancel()
                results = await asyncio.gather(*tasks, striking, return_exceptions=True)
            self.outcome.problems += [f"defect of the suite: {one!r}" for one in results if isinstance(one, Exception)]
            self.outcome.problems += [f"{name} has ended" for name in self.stand.dead()]
            await self.stand.heal()
            await self._check(session)
        return self.outcome

    def strike_worker(self, worker: Node) -> None:
        """Note the answers that a fault of a worker comes over: those it calls the provider for."""
        prompts = self.stand.calls_by(worker)
        self._note([answer for answer in self.answers if answer.prompt in prompts])

    def strike_relay(self, relay: Node) -> None:
        """Note the answers that a fault of a relay comes over: those that are read there."""
        at = self.stand.relays.index(relay)
        self._note([reader.answer for reader in self.readers if reader.at == at])

    def strike_all(self) -> None:
        """Note all answers that have not ended: a fault comes over them all."""
        self._note(self.answers)

    def _note(self, answers: Sequence[Answer]) -> None:
        now_s = asyncio.get_running_loop().time()
        for answer in answers:
            answer.strike(now_s)

    def _make_answers(self, seed: str) -> list[Answer]:
        """Return the answers, begun at such times that the strike finds each at another place.

        The first is the one whose progress triggers it.
        """
        fault, rng = self.fault, self.rng
        answers = [make_answer(f"{seed}/{number}", rng, fault.pace) for number in range(fault.streams)]
        tokens, per_second = fault.pace
        lasts_s = tokens / per_second if per_second else 1.0
        self.trigger = rng.randrange(tokens + 6)
        first = answers[0]
        first.begins_s = max(lasts_s - (self.trigger / per_second if per_second else 0), 0)
        for answer in answers[1:]:
            answer.begins_s = rng.uniform(0, lasts_s)
        return answers

    def _start_readers(self, session: aiohttp.ClientSession) -> list[asyncio.Task[None]]:
        """Start every reader, each at its time."""
        ports = [relay.outer.port for relay in self.stand.relays]
        tasks = []
        for answer in self.answers:
            modes = self.fault.modes(self.rng)
            if answer is self.answers[0]:
                modes[0] = ("post", 0.0)  # the trigger counts its events
            for mode, later_s in modes:
                reader = Reader(answer, mode, session, random.Random(self.rng.random()))
                self.readers.append(reader)
                running = reader.run(ports, self.stand.front.port, answer.begins_s + later_s)
                tasks.append(asyncio.create_task(running, name=f"{answer.key} {mode}"))
        return tasks

    async def _strike(self) -> None:
        """Strike when the first answer has come as far as the seed says."""
        if self.fault.strike is not everybody:
            first = self.answers[0]
            await pause(first.begins_s)
            told = first.transcripts[0]
            await eventually(lambda: len(told.events) >= self.trigger or told.ended, _TRIGGER_S, "the trigger")
        await self.fault.strike(self)
        if self.fault.strike is not everybody:
            for answer in self.answers:
                answer.spare_if_unasked()

    def _note_hanging(self, hanging: set[asyncio.Task[None]]) -> None:
        """Count a reader that has not ended in time as one that has lost something."""
        for reader in self.readers:
            told = reader.transcript
            if not told.ended and not told.problems:
                told.losses += 1
                last = told.events[-1].content if told.events else "nothing"
                told.problems.append(f"hangs: no end within {_DEADLINE_S:g} s; told last: {last}")
        self.outcome.problems += [f"{task.get_name()} hangs" for task in hanging if task.get_name() == "strike"]

    async def _check(self, session: aiohttp.ClientSession) -> None:
        """Compare what each reader was told with the log, count provider calls, and see that nothing is left."""
        async with asyncio.TaskGroup() as group:
            for answer in self.answers:
                group.create_task(self._check_answer(answer, session), name=f"check {answer.key}")
        try:
            await self.stand.idle()
        except AssertionError as error:
            self.outcome.problems.append(str(error))
        self.outcome.problems += self.stand.defects()

    async def _check_answer(self, answer: Answer, session: aiohttp.ClientSession) -> None:
        try:
            log = await whole_log(answer, session, self.stand.relays[0].outer.port)
        except TimeoutError:
            log = Transcript("events", answer.expected, problems=["the log has no end to be read"])
            answer.strike(asyncio.get_running_loop().time())
        calls = self.stand.provider._conversations[answer.prompt]
        self._check_calls(answer, log, calls)
        for told in answer.transcripts:
            if told.mode != "wait" and log.ended:
                told.same_as(log)
            if told.forks and not self.fault.forks:
                told.problems.append("was told to discard everything, though nothing can have been lost")
            self._blame(answer, told)
        self._blame(answer, log)
        if answer.struck_s is None and log.events and len(log.attempts()) > 1:
            answer.struck_s = log.events[0].at_s
        broken = [told for told in answer.transcripts if told.breaks]
        if broken and self.fault.broken:
            answer.struck_index = broken[0].broke_at
        if answer.struck_s is not None and (broken or not self.fault.broken):
            self.outcome.struck.append(answer)
            self.outcome.calls.append(calls)

    def _check_calls(self, answer: Answer, log: Transcript, calls: int) -> None:
        """Hold the provider calls to invariant 2."""
        reasons = log.attempts()
        allowed = 1 + sum(reason in (*_HANDOVERS, "provider_error") for reason in reasons)
        if self.once and calls != 1:
            log.problems.append(f"{calls} provider calls, not exactly 1; attempts: {reasons}")
        if not 1 <= calls <= min(allowed, MAX_ATTEMPTS):
            log.problems.append(f"{calls} provider calls, of {min(allowed, MAX_ATTEMPTS)} allowed; attempts: {reasons}")
        if len(answer.ids) > 1 and not self.fault.forks:
            log.problems.append(f"one key has begun {len(answer.ids)} streams")

    def _blame(self, answer: Answer, told: Transcript) -> None:
        """Report what was wrong with one reading."""
        answer.wrong = answer.wrong or bool(told.problems)
        self.outcome.problems += [
            f"{answer.key} ({answer.stream_id}) {told.mode}, event {len(told.events)}: {problem}"
            for problem in told.problems
        ]


def _timeout() -> aiohttp.ClientTimeout:
    """Return the waits of a reader: as long as a heartbeat may be late, except for a whole answer."""
    return aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=3)
