"""The Lua scripts of ``shared/lua``, loaded once and called by their hash.

A line ``-- include NAME`` in a script stands for the text of another, since Redis has no modules of its own. A script
that includes others as the bodies of functions takes several steps at once, each of which stays one file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError

from shared.cluster import Streams, execute_each
from shared.cluster_map import Argument

_INCLUDE = re.compile(r"^-- include (\w+)$", re.MULTILINE)


class Call(NamedTuple):
    """A script by its name, with what it is given."""

    name: str
    keys: Sequence[str | bytes]
    arguments: Sequence[Argument]


@cache
def _source(name: str) -> tuple[str, str]:
    """Return a script's text and its SHA-1."""
    text = _text(name)
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _text(name: str) -> str:
    """Return what a script's file holds, with what it includes."""
    text = (files("shared") / "lua" / f"{name}.lua").read_text()
    return _INCLUDE.sub(lambda found: _text(found[1]), text)


def in_one(name: str, calls: Sequence[Call], *more: Argument) -> Call:
    """Return a call of the script that takes the steps of ``calls`` at once, and ``more`` at the end of its arguments.

    They begin with how many keys and how many arguments each step has.
    """
    sizes = [len(part) for call in calls for part in (call.keys, call.arguments)]
    names = [key for call in calls for key in call.keys]
    return Call(name, names, [*sizes, *(one for call in calls for one in call.arguments), *more])


async def run_script(client: Streams, name: str, keys: Sequence[str | bytes], arguments: Sequence[Argument]) -> Any:
    """Run ``shared/lua/<name>.lua`` and return its raw answer; atomic on the server. Raises ``RedisError``."""
    text, digest = _source(name)
    try:
        return await client.execute_command("EVALSHA", digest, len(keys), *keys, *arguments)
    except NoScriptError:
        return await client.execute_command("EVAL", text, len(keys), *keys, *arguments)


async def run_script_each(
    client: Streams, name: str, calls: Sequence[tuple[Sequence[str | bytes], Sequence[Argument]]]
) -> list[Any]:
    """Run one script for several streams in one round trip; one answer or ``RedisError`` each, in order.

    Raises ``RedisError`` when a single Redis cannot be reached.
    """
    text, digest = _source(name)
    commands = [("EVALSHA", digest, len(keys), *keys, *arguments) for keys, arguments in calls]
    answers = await execute_each(client, commands)
    unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
    if unknown:
        await client.script_load(text)
        again = await execute_each(client, [commands[at] for at in unknown])
        for at, answer in zip(unknown, again, strict=True):
            answers[at] = answer
    return answers
