"""``python -m worker``: one worker, configured by the environment."""

from __future__ import annotations

import sys

import uvloop

from shared.errors import ConfigurationError
from shared.logs import configure_logs
from shared.settings import Settings, load_settings
from worker.app import WorkerService


def main() -> int:
    """Work until a signal; return the exit code. What is wrong with the configuration is said in one sentence."""
    try:
        settings = load_settings()
        configure_logs(settings)
        uvloop.run(_serve(settings))
    except ConfigurationError as error:
        sys.stderr.write(f"tailrace worker: {error}\n")
        return 1
    return 0


async def _serve(settings: Settings) -> None:
    """Make and run the worker on the loop that runs this, since arq's worker looks for one when made."""
    await WorkerService(settings).serve()


if __name__ == "__main__":
    sys.exit(main())
