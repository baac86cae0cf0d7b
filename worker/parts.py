"""What the pieces of one worker share."""

from __future__ import annotations

from dataclasses import dataclass

from shared.admission import Admission
from shared.appointments import Vacancies
from shared.chats import Chats
from shared.leases import Leases
from shared.settings import Settings
from shared.stream_log import StreamLog
from worker.providers.registry import Providers
from worker.publisher import Publisher


@dataclass(frozen=True)
class Parts:
    """The parts of one worker process, made once."""

    worker_id: str
    settings: Settings
    log: StreamLog
    admission: Admission
    chats: Chats
    leases: Leases
    vacancies: Vacancies
    publisher: Publisher
    providers: Providers
    one_redis: bool
    """Whether leases and logs are on one server, so that one script may touch both."""
