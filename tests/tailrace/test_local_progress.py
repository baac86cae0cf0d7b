"""Tests of what a person sees while things start."""

from __future__ import annotations

import asyncio
import io
import os
import pty

import pytest

from tailrace.local.progress import Progress
from tests.support import eventually


async def test_without_a_terminal_every_step_is_a_plain_line_at_once_and_says_how_long_it_took() -> None:
    """A log file or a pipe gets whole lines and no control characters."""
    out = io.StringIO()
    progress = Progress(out)
    async with progress.step("Starting"):
        assert out.getvalue() == "Starting ...\n"
    assert out.getvalue() == "Starting ...\nStarting: done in 0.0 s\n"


async def test_without_a_terminal_there_is_never_silence_for_more_than_two_seconds() -> None:
    """A long step tells every 1.5 s that it goes on, and how far it is."""
    out = io.StringIO()
    progress = Progress(out)
    async with asyncio.timeout(2), progress.step("Installing"):
        progress.note("43 MB")
        await eventually(lambda: "Installing: 2 s, 43 MB\n" in out.getvalue())


async def test_a_step_that_fails_is_not_called_done() -> None:
    """The error's own sentence follows; a tick before it would be a lie."""
    out = io.StringIO()
    with pytest.raises(RuntimeError):
        await _fail(Progress(out))
    assert out.getvalue() == "Starting ...\n"


async def _fail(progress: Progress) -> None:
    async with progress.step("Starting"):
        raise RuntimeError


async def test_on_a_terminal_one_line_lives_and_messages_stand_above_it() -> None:
    """The live line is erased before anything else is printed, and is never wider than the terminal."""
    master, slave = pty.openpty()
    with os.fdopen(master, "rb", buffering=0) as screen, os.fdopen(slave, "w", encoding="utf-8") as terminal:
        progress = Progress(terminal)
        async with progress.step("Installing"):
            progress.note("x" * 500)
            await asyncio.to_thread(_read_until, screen, b"Installing: 0 s")
            progress.say("Something happened.")
            seen = await asyncio.to_thread(_read_until, screen, b"happened.")
        assert b"\r\x1b[2KSomething happened." in seen
        last = await asyncio.to_thread(_read_until, screen, b"done in")
        assert b"x" * 200 not in last


def _read_until(screen: io.FileIO, text: bytes) -> bytes:
    """Read what the terminal got until ``text`` is among it."""
    seen = b""
    while text not in seen:
        seen += screen.read(1024) or b""
    return seen


def test_a_terminal_that_has_gone_does_not_stop_anything() -> None:
    """After the window was closed the parts must still be ended in order."""
    master, slave = pty.openpty()
    os.close(master)
    # As standard error is: what cannot be written is not kept to be written later.
    with io.TextIOWrapper(os.fdopen(slave, "wb", buffering=0), encoding="utf-8", write_through=True) as terminal:
        Progress(terminal).say("Stopping.")
