"""What a Redis says about itself, asked by one INFO on a connection of its own, which costs it next to nothing."""

from __future__ import annotations

import asyncio

from bench.plan import BenchError

_PATIENCE_S = 10.0


async def info(port: int) -> dict[str, float]:
    """Return the numbers of INFO by their names. Raises ``BenchError``."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"INFO\r\n")
                length = int((await reader.readline())[1:])
                text = (await reader.readexactly(length)).decode()
            finally:
                writer.close()
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        message = f"Redis did not answer INFO: {error!r}"
        raise BenchError(message) from None
    numbers: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if value.replace(".", "", 1).isdigit():
            numbers[name] = float(value)
    return numbers
