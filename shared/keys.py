"""Every Redis key and channel name. Keys of one stream carry its id as hash tag, so that they share a slot."""

from __future__ import annotations

import hashlib
from functools import lru_cache

LEASES = "tr:leases"
"""Sorted set on the queue Redis: stream id by lease deadline, in ms of Redis TIME."""
APPLICANTS = "tr:applicants"
"""Hash on the queue Redis: tenant by stream id, for each active stream: its record may never have been made."""
HISTORY = "tr:history"
"""Hash on the queue Redis: which history of its data is known, and since when: see ``lua/history.lua``."""
QUEUE = "tr:queue"
"""The arq queue: job id by due time."""
WAKE = "tr:wake"
"""List on the queue Redis: one element per enqueued job, so that a waiting worker picks it up at once."""
VACANCIES = "tr:vacancies"
"""Hash on the queue Redis: how many more streams a worker can take, by its id."""


def record(stream_id: str) -> str:
    """Return the key of the stream's record."""
    return f"tr:{{{stream_id}}}:record"


def stream_of(name: str) -> str:
    """Return the stream id in the name of one of its keys or of its channel."""
    return name[name.index("{") + 1 : name.index("}")]


def log(stream_id: str) -> str:
    """Return the key of the stream's log."""
    return f"tr:{{{stream_id}}}:log"


def live(stream_id: str) -> str:
    """Return the channel on which the stream's entries are published as they are appended."""
    return f"tr:{{{stream_id}}}:live"


@lru_cache(4096)
def names(stream_id: str) -> tuple[bytes, bytes, bytes]:
    """Return the names of record, log and channel as Redis takes them: whoever appends needs them for every entry."""
    return record(stream_id).encode(), log(stream_id).encode(), live(stream_id).encode()


def viewers(stream_id: str) -> str:
    """Return the key of the stream's viewer leases."""
    return f"tr:{{{stream_id}}}:viewers"


def kept(stream_id: str) -> str:
    """Return the key of what is kept of the stream's request beyond its end."""
    return f"tr:{{{stream_id}}}:kept"


def idempotency(tenant: str, key: str) -> str:
    """Return the key that remembers which stream a tenant's idempotency key started."""
    return f"tr:idempotency:{tenant}:{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def keyless(tenant: str, body_hash: str) -> str:
    """Return the key that remembers for a while which idempotency key stands for a request that came without one."""
    return f"tr:keyless:{tenant}:{body_hash}"


def chat(tenant: str, chat_id: str) -> str:
    """Return the key that holds the newest stream of a tenant's chat, and when it was made."""
    return f"tr:chat:{tenant}:{hashlib.sha256(chat_id.encode()).hexdigest()[:32]}"


def tenant_streams(tenant: str) -> str:
    """Return the key of the tenant's index: stream id by creation time."""
    return f"tr:tenant:{tenant}:streams"


def tenant_active(tenant: str) -> str:
    """Return the key of the tenant's queued and running streams: stream id by the latest time it can end."""
    return f"tr:tenant:{tenant}:active"


def worker_control(worker_id: str) -> str:
    """Return the channel on which a worker is told of cancels."""
    return f"tr:worker:{worker_id}:control"


def worker_appointments(worker_id: str) -> str:
    """Return the channel on which a worker is told of streams that have been claimed for it."""
    return f"tr:worker:{worker_id}:appointments"
