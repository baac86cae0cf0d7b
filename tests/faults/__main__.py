"""``python -m tests.faults``: runs the suite, prints its table, and fails if anything was lost, doubled or hung."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import sys

from tests.faults.options import parse_options
from tests.faults.suite import Suite

_INTERRUPTED = 130


def main() -> int:
    """Run the suite; return the exit code."""
    options = parse_options(sys.argv[1:])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # the provider's connections break on purpose
    try:
        return 0 if asyncio.run(_run(Suite(options))) else 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stdout.write("interrupted; everything that was started has ended\n")
        return _INTERRUPTED


async def _run(suite: Suite) -> bool:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await suite.run()


if __name__ == "__main__":
    sys.exit(main())
