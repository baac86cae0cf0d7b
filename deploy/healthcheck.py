"""Exit code 0 if the service of this container answers /healthz on one of the ports given.

One image holds two services, and a container runs one of them: the relay on the first port or the worker on the
second. Standard library only, and little of it: this runs every few seconds.
"""

from __future__ import annotations

import http.client
import sys

_TIMEOUT_S = 1.5


def answers(port: int) -> bool:
    """Return whether /healthz on this port of loopback answers 200 in time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if any(answers(int(port)) for port in sys.argv[1:]) else 1)
