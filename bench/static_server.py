"""What a resume and a fan-out are held against: aiohttp that sends a file, and one that writes frames to all readers.

``python -m bench.static_server DIRECTORY`` serves ``GET /files/NAME`` from the directory, and ``GET /events``, which
stays open: ``POST /play`` with ``{"frames": [...], "per_second": 20}`` writes the frames to all who have it open, at
that pace, and then ends the answers.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

import uvloop
from aiohttp import web

from bench.serving import serve_app


class Broadcaster:
    """Writes the same bytes to many connections, one after the other, with nothing in between."""

    def __init__(self) -> None:
        """Begin without readers."""
        self._readers: list[web.StreamResponse] = []
        self._ended = asyncio.Event()
        self._playing: asyncio.Task[None] | None = None

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Answer with what is played, from now on."""
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": open\n\n")
        self._readers.append(response)
        await self._ended.wait()  # of the playing that it waits for, though another may have begun since
        return response

    async def play(self, request: web.Request) -> web.Response:
        """Begin to play to all who have come since the last playing began, which ends."""
        asked = await request.json()
        frames = [frame.encode() for frame in asked["frames"]]
        if self._playing is not None:
            self._playing.cancel()
        readers, self._readers = self._readers, []
        ended, self._ended = self._ended, asyncio.Event()
        self._playing = asyncio.create_task(self._play(readers, frames, asked["per_second"]), name="bench.playing")
        self._playing.add_done_callback(lambda _playing: ended.set())
        return web.json_response({"readers": len(readers)})

    async def _play(self, readers: list[web.StreamResponse], frames: list[bytes], per_second: float) -> None:
        """Play to the end, or until a reader has gone: they all leave together."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        with suppress(ConnectionError):
            for number, frame in enumerate(frames):
                await asyncio.sleep(began_s + number / per_second - loop.time())
                for reader in readers:
                    await reader.write(frame)


async def serve(directory: str) -> None:
    """Serve until killed."""
    broadcaster = Broadcaster()
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_static("/files", directory)
    app.router.add_get("/events", broadcaster.events)
    app.router.add_post("/play", broadcaster.play)
    await serve_app(app)


def main(directory: str) -> int:
    """Run the server; return the exit code."""
    uvloop.run(serve(directory))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
