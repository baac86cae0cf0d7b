"""``python -m relay``: one relay, configured by the environment."""

from __future__ import annotations

import resource
import sys

import uvloop

from relay.app import Relay
from shared.errors import ConfigurationError
from shared.logs import configure_logs
from shared.settings import Settings, load_settings


def main() -> int:
    """Serve until a signal; return the exit code. What is wrong with the configuration is said in one sentence."""
    try:
        settings = load_settings()
        configure_logs(settings)
        _allow_many_connections()
        uvloop.run(_serve(settings))
    except ConfigurationError as error:
        sys.stderr.write(f"tailrace relay: {error}\n")
        return 1
    return 0


def _allow_many_connections() -> None:
    """Raise the soft limit on open files, often 1,024, to the hard one: every client is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(settings: Settings) -> None:
    """Make and run the relay on the loop that runs this."""
    await Relay(settings).serve()


if __name__ == "__main__":
    sys.exit(main())
