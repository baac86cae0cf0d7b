"""The Lua scripts of ``shared/lua``, loaded once and called by their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

Argument = bytes | str | int


@cache
def _source(name: str) -> tuple[str, str]:
    """Return a script's text and its SHA-1."""
    text = (files("shared") / "lua" / f"{name}.lua").read_text()
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


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
