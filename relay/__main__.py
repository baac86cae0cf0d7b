"""``python -m relay``: one relay, or several behind one port, configured by the environment."""

from __future__ import annotations

import resource
import sys

from relay.app import Relay
from shared.processes.program import Program
from shared.processes.seat import Seat
from shared.settings import Settings


async def _serve(settings: Settings, seat: Seat | None) -> None:
    """Make and run the relay on the loop that runs this."""
    _allow_many_connections()
    await Relay(settings, seat).serve()


def _allow_many_connections() -> None:
    """Raise the soft limit on open files, often 1,024, to the hard one: every client is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


PROGRAM = Program(
    "relay",
    _serve,
    processes=lambda settings: settings.relay_processes,
    address=lambda settings: (settings.host, settings.port),
    drain_s=lambda settings: settings.relay_notice_s + settings.relay_drain_s,
)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
