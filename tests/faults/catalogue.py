"""Every fault there is: how it strikes, whom, and what may come of it."""

from __future__ import annotations

import random
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import islice

from redis import Redis

from tests.faults.links import Fate, Link
from tests.faults.pace import pause
from tests.faults.provider_faults import PROVIDER_FAULTS
from tests.faults.readers import Mode
from tests.faults.rounds import Fault, Round, everybody
from tests.faults.stand import LEASE_S

_PAUSED_LONGER_S = (LEASE_S + 0.3, 2 * LEASE_S)
_BLINK_S = (0.2, LEASE_S / 2)
_RESTART_S = 2.2
"""After a kill, and so after the takeover, which a start of a process on the same cores would slow down."""
_LONG = (120, 40.0)
"""For faults that must not cost a lease: twice as long as one, so that a lease that is not renewed shows."""


async def _worker_kill(now: Round) -> None:
    worker = now.rng.choice(now.stand.workers)
    now.strike_worker(worker)
    worker.kill()
    await pause(_RESTART_S)
    worker.start()


async def _worker_term(now: Round) -> None:
    worker = now.rng.choice(now.stand.workers)
    now.strike_worker(worker)
    code = await now.stand.stop(worker)
    if code:
        now.outcome.problems.append(f"{worker.name} exited with {code} after SIGTERM")
    worker.start()


async def _worker_stop(now: Round, lasts_s: tuple[float, float]) -> None:
    worker = now.rng.choice(now.stand.workers)
    now.strike_worker(worker)
    worker.service.pause()
    await pause(now.rng.uniform(*lasts_s))
    worker.service.resume()


async def _worker_clock(now: Round) -> None:
    now.strike_all()
    for _ in range(3):
        for worker in now.stand.workers:
            worker.service.child.send_signal(signal.SIGUSR2)
        await pause(now.rng.uniform(0, 0.4))


async def _relay_kill(now: Round) -> None:
    relay = now.rng.choice(now.stand.relays)
    now.strike_relay(relay)
    relay.kill()
    await pause(now.rng.uniform(0, 1))
    relay.start()


async def _relay_term(now: Round) -> None:
    relay = now.rng.choice(now.stand.relays)
    now.strike_relay(relay)
    code = await now.stand.stop(relay)
    if code:
        now.outcome.problems.append(f"{relay.name} exited with {code} after SIGTERM")
    relay.start()


async def _relay_stop(now: Round) -> None:
    relay = now.rng.choice(now.stand.relays)
    now.strike_relay(relay)
    relay.service.pause()
    await pause(now.rng.uniform(0.5, 4.5))
    relay.service.resume()


async def _redis_kill(now: Round) -> None:
    for _ in range(now.rng.choice((1, 1, 2))):
        now.strike_all()
        now.stand.redis.kill()
        await pause(now.rng.uniform(0, 1.5))
        now.stand.redis.start()
        await pause(now.rng.uniform(0.2, 1.5))


async def _redis_lose(now: Round) -> None:
    """Lose what a machine loses that crashes between two syncs: the end of the append-only file."""
    now.strike_all()
    log = max((now.stand.redis_directory / "appendonlydir").glob("*.incr.aof"))
    synced = log.stat().st_size
    await pause(now.rng.uniform(0.05, 1))
    now.stand.redis.kill()
    with log.open("r+b") as file:
        file.truncate(synced)
    now.stand.redis.start()


async def _redis_stop(now: Round) -> None:
    now.strike_all()
    now.stand.redis.pause()
    await pause(now.rng.uniform(0.3, 4))
    now.stand.redis.resume()


async def _redis_refuses(now: Round, begin: str, finish: str) -> None:
    now.strike_all()
    with Redis.from_url(now.stand.redis.url) as client:
        client.execute_command(*begin.split())
        await pause(now.rng.uniform(0.3, 2))
        client.execute_command(*finish.split())


async def _wire(now: Round, kind: str, of: str) -> None:
    """Do something to the wires of one relay or worker: ``of`` is ``relay-redis``, ``worker-redis`` and so on."""
    node = now.rng.choice(now.stand.relays if of.startswith("relay") else now.stand.workers)
    link = node.redis if of.endswith("redis") else node.outer
    (now.strike_relay if node in now.stand.relays else now.strike_worker)(node)
    if kind in ("freeze", "blink"):
        link.freeze()
        await pause(now.rng.uniform(*_BLINK_S) if kind == "blink" else now.rng.uniform(0.5, 4.5))
        link.thaw()
    elif kind == "hang":
        link.strike(lambda: Fate("hang", now.rng.randrange(2000)))
    else:
        link.strike(lambda: Fate("cut", now.rng.randrange(2000)))


def _client_wires(now: Round, kind: str, chance: float, most: int) -> None:
    """Give the clients' connections fates, each at a byte of its own, up to so many."""
    fates = islice(iter(lambda: now.rng.random() < chance, None), most)

    def draw() -> Fate | None:
        return Fate(kind, now.rng.randrange(6000)) if next(fates, False) else None  # type: ignore[arg-type]

    for link in _client_links(now):
        link.draw = draw


def _client_links(now: Round) -> list[Link]:
    return [relay.outer for relay in now.stand.relays]


def _two_posts(rng: random.Random) -> list[tuple[Mode, float]]:
    return [("post", 0.0), ("post", 0.0), ("wait", rng.uniform(0, 1)), ("client", rng.uniform(0, 3)), ("post", 2.5)]


async def _storm(now: Round) -> None:
    """Everything in one second, but each worker once."""
    now.strike_all()
    worker, relay = now.rng.choice(now.stand.workers), now.rng.choice(now.stand.relays)
    blows: list[Callable[[], None]] = [worker.kill, relay.kill, now.stand.redis.kill]
    now.rng.shuffle(blows)
    for blow in blows:
        blow()
        await pause(now.rng.uniform(0, 0.4))
    now.stand.redis.start()
    await pause(now.rng.uniform(0, 0.5))
    for node in (relay, worker):
        node.start()


def _on(of: str, kind: str) -> Callable[[Round], Awaitable[None]]:
    return partial(_wire, kind=kind, of=of)


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("worker-kill", _worker_kill, share=200),
        Fault("worker-term", _worker_term, share=100),
        Fault("worker-stop", partial(_worker_stop, lasts_s=_PAUSED_LONGER_S), share=120),
        Fault("worker-blink", partial(_worker_stop, lasts_s=_BLINK_S), share=40, once=True, pace=_LONG),
        Fault("worker-clock", _worker_clock, share=60, once=True, pace=_LONG),
        Fault("relay-kill", _relay_kill, share=160, once=True),
        Fault("relay-term", _relay_term, share=80, once=True),
        Fault("relay-stop", _relay_stop, share=80, once=True),
        Fault("redis-kill", _redis_kill, share=120, once=True, pace=_LONG),
        Fault("redis-lose", _redis_lose, share=120, once=True, pace=_LONG, forks=True),
        Fault("redis-stop", _redis_stop, share=80, once=True, pace=_LONG),
        Fault(
            "redis-full",
            partial(_redis_refuses, begin="CONFIG SET maxmemory 1", finish="CONFIG SET maxmemory 0"),
            share=60,
            once=True,
            pace=_LONG,
        ),
        Fault(
            "redis-readonly",
            partial(_redis_refuses, begin="REPLICAOF 127.0.0.1 1", finish="REPLICAOF NO ONE"),
            share=60,
            once=True,
            pace=_LONG,
        ),
        Fault(
            "client-cut", everybody, partial(_client_wires, kind="cut", chance=0.7, most=150), once=True, broken=True
        ),
        Fault(
            "client-hang", everybody, partial(_client_wires, kind="hang", chance=0.4, most=40), once=True, broken=True
        ),
        Fault(
            "client-slow",
            everybody,
            partial(_client_wires, kind="slow", chance=0.6, most=40),
            share=40,
            once=True,
            streams=8,
            pace=(2500, 0.0),
        ),
        Fault("relay-redis-cut", _on("relay-redis", "cut"), once=True),
        Fault("relay-redis-hang", _on("relay-redis", "hang"), once=True),
        Fault("relay-redis-freeze", _on("relay-redis", "freeze"), once=True),
        Fault("worker-redis-cut", _on("worker-redis", "cut"), once=True, pace=_LONG),
        Fault("worker-redis-hang", _on("worker-redis", "hang")),
        Fault("worker-redis-freeze", _on("worker-redis", "freeze")),
        Fault("worker-redis-blink", _on("worker-redis", "blink"), share=40, once=True, pace=_LONG),
        Fault("worker-provider-cut", _on("worker-provider", "cut")),
        Fault("worker-provider-hang", _on("worker-provider", "hang")),
        Fault("worker-provider-freeze", _on("worker-provider", "freeze")),
        Fault(
            "post-twice",
            everybody,
            partial(_client_wires, kind="cut", chance=0.2, most=20),
            once=True,
            modes=_two_posts,
        ),
        Fault("storm", _storm, share=100, forks=True),
        *PROVIDER_FAULTS,
    )
}
