"""The Lua scripts of ``shared/lua``, loaded once and called by their hash.

A line ``-- include NAME`` in a script stands for the text of another, since Redis has no modules of its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

Argument = bytes | str | int
_INCLUDE = re.compile(r"^-- include (\w+)$", re.MULTILINE)


@cache
def _source(name: str) -> tuple[str, str]:
    """Return a script's text and its SHA-1."""
    text = _INCLUDE.sub(lambda found: _text(found[1]), _text(name))
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _text(name: str) -> str:
    """Return what a script's file holds."""
    return (files("shared") / "lua" / f"{name}.lua").read_text()


async def run_script(client: Redis, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
    """Run ``shared/lua/<name>.lua`` and return its raw answer; atomic on the server. Raises ``RedisError``."""
    text, digest = _source(name)
    try:
        return await client.execute_command("EVALSHA", digest, len(keys), *keys, *arguments)
    except NoScriptError:
        return await client.execute_command("EVAL", text, len(keys), *keys, *arguments)


async def run_script_each(
    client: Redis, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Argument]]]
) -> list[Any]:
    """Run one script for several streams in one round trip; one answer or exception each, in order."""
    text, digest = _source(name)
    pipe = client.pipeline(transaction=False)
    for keys, arguments in calls:
        pipe.execute_command("EVALSHA", digest, len(keys), *keys, *arguments)
    answers = await pipe.execute(raise_on_error=False)
    if any(isinstance(answer, NoScriptError) for answer in answers):
        await client.script_load(text)
        pipe = client.pipeline(transaction=False)
        for keys, arguments in calls:
            pipe.execute_command("EVALSHA", digest, len(keys), *keys, *arguments)
        answers = await pipe.execute(raise_on_error=False)
    return list(answers)
