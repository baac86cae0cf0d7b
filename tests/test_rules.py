"""Every rule of the architecture can fail: each is shown a bad sample that it must flag, and a good one beside it."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests import support_rules as rules
from tests.support_rules import Rule, Source


def source(text: str, path: str = "relay/sample.py") -> Source:
    """Return a file that says ``text``."""
    return Source(path, dedent(text))


@pytest.mark.parametrize(
    "text",
    [
        "import worker",
        "import worker.supervisor as w",
        "from worker import supervisor",
        "from worker.supervisor import run",
        "def later():\n    import worker.x\n",
        "if TYPE_CHECKING:\n    from worker import x\n",
        "try:\n    import worker\nexcept ImportError:\n    pass\n",
        "importlib.import_module('worker.x')",
        "__import__('worker')",
    ],
)
def test_an_import_across_is_flagged(text: str) -> None:
    """However and wherever it is spelled."""
    assert rules.forbidden_imports(source(text), {"relay", "shared"}, {"relay", "shared", "worker"})


def test_imports_that_are_allowed_are_not_flagged() -> None:
    """The standard library, third parties, the shared package, and one's own, also when spelled by dots."""
    text = (
        "import os, aiohttp\nfrom shared.worker import x\nfrom . import worker\nfrom .worker import y\nimport workers"
    )
    assert rules.forbidden_imports(source(text), {"relay", "shared"}, {"relay", "shared", "worker"}) == []


def test_dots_are_followed_to_the_package_they_mean() -> None:
    """Relative imports lead as far up as they say."""
    names = [name for _node, name in rules.imports(source("from ..b import c", "tailrace/local/a.py"))]
    assert names == ["tailrace.b", "tailrace.b.c"]
    names = [name for _node, name in rules.imports(source("from . import c", "tailrace/local/__init__.py"))]
    assert names == ["tailrace.local", "tailrace.local.c"]


def test_what_an_import_brings_in_is_followed_through_packages() -> None:
    """A service is found behind two modules and a package's own imports."""
    files = [
        source("from tailrace import a", "tailrace/client.py"),
        source("", "tailrace/__init__.py"),
        source("def late():\n    from tailrace.deep.b import run", "tailrace/a.py"),
        source("import relay.live.hub", "tailrace/deep/__init__.py"),
        source("", "tailrace/deep/b.py"),
        source("", "relay/__init__.py"),
        source("", "relay/live/hub.py"),
        source("import worker", "tailrace/other.py"),
    ]
    found = rules.reachable("tailrace.client", {file.module: file for file in files})
    assert found == {file.module for file in files} - {"tailrace.other"}


BAD: list[tuple[Rule, str]] = [
    (rules.too_long, "x = 1\n" * 301),
    (rules.long_functions, "def f():\n" + "    x = 1\n" * 50),
    (rules.long_functions, "class A:\n    def f(self):\n" + "        x = 1\n" * 50),
    (rules.wide_functions, "def f(a, b, c, d, e, f, g): ..."),
    (rules.wide_functions, "class A:\n    async def f(self, b, c, /, d, *, e, f, g): ..."),
    (rules.unexplained, "def f() -> None: ..."),
    (rules.unexplained, "class A:\n    @property\n    def f(self) -> int: return 1"),
    (rules.untyped, "def f(a) -> None: ..."),
    (rules.untyped, "def f(a: int): ..."),
    (rules.untyped, "class A:\n    def f(self, *args, **kwargs: int) -> None: ..."),
    (rules.key_literals, "key = 'tr:leases'"),
    (rules.key_literals, "key = f'tr:{{{stream_id}}}:log'"),
    (rules.key_literals, "key = b'tr:x'"),
    (rules.key_literals, "match('*.tr:*')"),
    (rules.stream_commands, "await redis.xadd('k', {})"),
    (rules.stream_commands, "await self._redis.publish(channel, b'')"),
    (rules.stream_commands, "await redis.execute_command('XRANGE', key)"),
    (rules.stream_commands, "pack(b'SPUBLISH', channel)"),
    (rules.environment_reads, "import os\nx = os.environ['A']"),
    (rules.environment_reads, "import os\nx = os.getenv('A')"),
    (rules.environment_reads, "from os import environ as e"),
    (rules.environment_reads, "from pydantic_settings import BaseSettings"),
    (rules.metric_definitions, "from prometheus_client import Counter"),
    (rules.broad_excepts, "try:\n    x()\nexcept Exception:\n    pass"),
    (rules.broad_excepts, "try:\n    x()\nexcept (ValueError, BaseException) as e:\n    raise"),
    (rules.broad_excepts, "try:\n    x()\nexcept:\n    raise"),
    (rules.broad_excepts, "try:\n    x()\nexcept* Exception:\n    raise"),
    (rules.broad_excepts, "with contextlib.suppress(Exception):\n    x()"),
    (rules.dropped_tasks, "asyncio.create_task(x())"),
    (rules.dropped_tasks, "_ = asyncio.create_task(x())"),
    (rules.dropped_tasks, "loop.create_task(x())"),
    (rules.dropped_tasks, "asyncio.ensure_future(x())"),
    (rules.fixed_sleeps, "await asyncio.sleep(0.1)"),
    (rules.fixed_sleeps, "time.sleep(wait_s)"),
    (rules.fixed_sleeps, "from time import sleep\nsleep(1)"),
    (rules.doubles, "from unittest.mock import AsyncMock"),
    (rules.doubles, "from unittest import mock"),
    (rules.doubles, "import fakeredis"),
    (rules.doubles, "monkeypatch.setattr(x, 'y', 1)"),
]
GOOD: list[tuple[Rule, str]] = [
    (rules.too_long, "x = 1\n" * 300),
    (rules.long_functions, "def f():\n" + "    x = 1\n" * 49),
    (rules.wide_functions, "def f(a, b, c, d, e, f, *args, **kwargs): ..."),
    (rules.unexplained, "def _f() -> None: ...\nclass _A:\n    def f(self) -> None: ..."),
    (rules.unexplained, 'def f() -> None:\n    "Do."\n    def g() -> None: ...'),
    (rules.untyped, "class A:\n    @classmethod\n    def f(cls, a: int, *b: int, **c: int) -> None: ..."),
    (rules.key_literals, '"""A docstring about tr:leases."""\nx = "attr: y"\nptr = "str:tr"'),
    (rules.stream_commands, '"""XADD is issued elsewhere."""\nawait log.append(entry)\nx = "PUBLISHED"'),
    (rules.environment_reads, "import os\nx = os.getpid()\nfrom pydantic_settings import SettingsError"),
    (rules.metric_definitions, "from prometheus_client import generate_latest\nfrom collections import Counter"),
    (rules.broad_excepts, "try:\n    x()\nexcept (ValueError, OSError):\n    pass\nwith suppress(KeyError):\n    x()"),
    (rules.dropped_tasks, "task = asyncio.create_task(x())\ngroup.create_task(x())\nself._tasks.create_task(x())"),
    (rules.fixed_sleeps, "await asyncio.sleep(0)\nawait eventually(x)"),
    (rules.doubles, "monkeypatch.setenv('A', 'b')\nfrom unittest import TestCase"),
]


@pytest.mark.parametrize(("rule", "text"), BAD, ids=lambda value: getattr(value, "__name__", None))
def test_a_bad_sample_is_flagged_once_and_by_place(rule: Rule, text: str) -> None:
    """One fault, one line of report, which begins with the file."""
    faults = rule(source(text))
    assert len(faults) == 1, faults
    assert faults[0].startswith("relay/sample.py")


@pytest.mark.parametrize(("rule", "text"), GOOD, ids=lambda value: getattr(value, "__name__", None))
def test_a_good_sample_is_not_flagged(rule: Rule, text: str) -> None:
    """The rules say no more than they mean."""
    assert rule(source(text)) == []


def test_every_rule_has_a_bad_and_a_good_sample() -> None:
    """A rule that was never seen to fail proves nothing."""
    every = {
        value
        for name, value in vars(rules).items()
        if callable(value) and getattr(value, "__annotations__", {}).get("return") == "list[str]"
    } - {rules.forbidden_imports, rules.lua_faults}
    assert {rule for rule, _text in BAD} == {rule for rule, _text in GOOD} == every


LUA = "-- Append one entry.\n-- KEYS: log\n-- ARGV: id, blob\n-- Returns the id.\nreturn redis.call('XADD', KEYS[1])\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (LUA.replace("-- KEYS: log\n", ""), "no KEYS"),
        (LUA.replace("-- ARGV: id, blob\n", ""), "no ARGV"),
        (LUA.replace("-- Returns the id.\n", ""), "no Returns"),
        (LUA.replace("-- Append one entry.\n", ""), "does not say what it does"),
        (LUA + "local a = 1\n" * 36, "41 lines"),
        (LUA + "redis.call('GET', 'tr:leases')\n", "spells a key"),
    ],
)
def test_a_careless_script_is_flagged(text: str, fault: str) -> None:
    """Each thing that a script must have, taken away from a good one."""
    assert rules.lua_faults(source(LUA, "shared/lua/x.lua")) == []
    faults = rules.lua_faults(source(text, "shared/lua/x.lua"))
    assert len(faults) == 1
    assert fault in faults[0]
