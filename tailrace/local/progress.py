"""What a person sees while things start: one live line on a terminal, plain lines elsewhere, never silence."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TextIO

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ASCII_FRAMES = "|/-\\"
_LIVE_S = 0.1
_PLAIN_S = 1.5
_ERASE = "\r\x1b[2K"


class Progress:
    """Tells what is being done. One step at a time; ``say`` may be called at any moment."""

    def __init__(self, out: TextIO) -> None:
        """Write to ``out``, live when it is a terminal."""
        self._out = out
        self._live = out.isatty()
        unicode = (out.encoding or "").lower().startswith("utf")
        self._frames = itertools.cycle(_FRAMES if unicode else _ASCII_FRAMES)
        self._text: str | None = None
        self._note = ""
        self._began = 0.0

    def say(self, text: str) -> None:
        """Print one line; a live line moves below it."""
        self._erase()
        self._write(f"{text}\n")

    def note(self, note: str) -> None:
        """Say how far the current step is, or what it waits for."""
        self._note = note

    @asynccontextmanager
    async def step(self, text: str) -> AsyncIterator[None]:
        """Show ``text``, and that time passes, until the context ends; then how long it took, unless it failed."""
        self._text, self._note, self._began = text, "", time.monotonic()
        if not self._live:
            self.say(f"{text} ...")
        ticker = asyncio.create_task(self._tick(), name="progress")
        try:
            yield
            self.say(f"{text}: done in {self._elapsed_s():.1f} s")
        finally:
            ticker.cancel()
            self._text = None
            self._erase()

    async def _tick(self) -> None:
        while True:
            if self._live:
                self._draw()
            await asyncio.sleep(_LIVE_S if self._live else _PLAIN_S)
            if not self._live:
                self.say(self._line())

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def _line(self) -> str:
        note = f", {self._note}" if self._note else ""
        return f"{self._text}: {self._elapsed_s():.0f} s{note}"

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._write(_ERASE + f"{next(self._frames)} {self._line()}"[:width])

    def _erase(self) -> None:
        if self._live and self._text is not None:
            self._write(_ERASE)

    def _write(self, text: str) -> None:
        with suppress(OSError):  # the terminal may be gone, and what was started must still be stopped in order
            self._out.write(text)
            self._out.flush()
