"""How many processes, how much memory and network a number of streams needs, and what stops growing first."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from bench.costs import Costs
from shared.settings import Settings

_US = 1e6
_BITS = 8


@dataclass(frozen=True)
class Demand:
    """What the system has to bear, and what one process and one machine may be used for."""

    streams: int
    """That run at once."""
    tokens_per_s: float = 50.0
    """Of each stream."""
    readers: float = 1.0
    """Of each stream."""
    answer_tokens: int = 500
    headroom: float = 0.6
    """The part of a core that a process may use on average; the rest is for bursts and for the loss of others."""
    kept_s: float = 3600.0
    """How long a log stays in Redis after its stream's end (``TAILRACE_TTL_S``)."""
    redis_gib: float = 32.0
    """Memory of one Redis."""
    network_gbit: float = 10.0
    """Of one machine."""

    @property
    def tokens(self) -> float:
        """Tokens per second of all streams."""
        return self.streams * self.tokens_per_s

    @property
    def starts(self) -> float:
        """Streams that start, and as many that end, per second."""
        return self.tokens / self.answer_tokens


@dataclass(frozen=True)
class Need:
    """What a demand needs. Cores are those in use, processes those to run; one process uses one core."""

    relay_cores: float
    worker_cores: float
    streams_cores: float
    """Of the Redis of the logs, all shards together."""
    queue_cores: float
    """Of the Redis of the queue, which is one."""
    relays: int
    workers: int
    shards: int
    relay_bytes: float
    """Of all relays together, and so on."""
    worker_bytes: float
    log_bytes: float
    client_bits_per_s: float
    streams_bits_per_s: float


def need(costs: Costs, demand: Demand) -> Need:
    """Return what a demand needs."""
    tokens, starts = demand.tokens, demand.starts
    more_readers = max(0.0, demand.readers - 1)
    relay_us = costs.relay_token_us + more_readers * costs.delivery_us
    relay_cores = (tokens * relay_us + starts * max(1.0, demand.readers) * costs.relay_start_us) / _US
    worker_cores = (tokens * costs.worker_token_us + starts * costs.worker_start_us) / _US
    streams_cores = (tokens * costs.redis_token_us + starts * costs.streams_start_us) / _US
    connections = demand.streams * demand.readers
    relays = _whole(max(relay_cores / demand.headroom, connections / default("max_connections")))
    workers = _whole(max(worker_cores / demand.headroom, demand.streams / default("worker_slots")))
    commands = workers * costs.worker_commands_per_s + relays * costs.relay_commands_per_s
    log_bytes = tokens * (demand.kept_s + demand.answer_tokens / demand.tokens_per_s / 2) * costs.log_token_bytes
    streams_bits = tokens * (costs.redis_in_token_bytes + costs.redis_out_token_bytes) * _BITS
    shards = _whole(
        max(
            streams_cores / demand.headroom,
            log_bytes / (demand.redis_gib * 2**30),
            streams_bits / (demand.network_gbit * 1e9 * demand.headroom),
        )
    )
    return Need(
        relay_cores,
        worker_cores,
        streams_cores,
        (starts * costs.queue_start_us + commands * costs.command_us) / _US,
        relays,
        workers,
        shards,
        relays * costs.relay_bytes + connections * costs.reader_bytes,
        workers * costs.worker_bytes,
        log_bytes,
        tokens * demand.readers * costs.client_token_bytes * _BITS,
        streams_bits,
    )


@dataclass(frozen=True)
class Limit:
    """Something that cannot grow, or not by itself, and the streams at which it is reached."""

    what: str
    streams: float
    remedy: str


def limits(costs: Costs, demand: Demand) -> list[Limit]:
    """Return what stops growing, the first one first. All but the settings grow with the streams in proportion."""
    one = need(costs, replace(demand, streams=_SAMPLE))

    def at(most: float, used: float) -> float:
        return most * _SAMPLE / used if used > 0 else math.inf

    network = demand.network_gbit * 1e9 * demand.headroom
    cores = demand.headroom
    found = [
        Limit(
            "memory of the logs in one Redis", at(demand.redis_gib * 2**30, one.log_bytes), "shards, or shorter logs"
        ),
        Limit(
            "CPU of one Redis for queue and logs", at(cores, one.streams_cores + one.queue_cores), "a Redis for each"
        ),
        Limit("CPU of one Redis for the logs", at(cores, one.streams_cores), "shards"),
        Limit("network of one Redis for the logs", at(network, one.streams_bits_per_s), "shards"),
        Limit("CPU of the queue's Redis", at(cores, one.queue_cores), "a second system beside it: the queue is one"),
        Limit("setting `TAILRACE_MAX_ACTIVE`", default("max_active"), "a higher one"),
        Limit("setting `TAILRACE_MAX_ACTIVE_PER_TENANT`", default("max_active_per_tenant"), "a higher one, or tenants"),
    ]
    return sorted(found, key=lambda limit: limit.streams)


_SAMPLE = 1_000_000
"""Streams at which proportions are taken: so many that rounding processes up says nothing."""


def default(name: str) -> int:
    """Return the default of a setting that is a number."""
    return int(Settings.model_fields[name].default)


def _whole(number: float) -> int:
    """Return how many processes that is: two at least, since one may be lost."""
    return max(2, math.ceil(number))
