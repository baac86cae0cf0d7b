"""The rules of the layout hold: imports run one way, every fact has one owner, and nothing has grown too big."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests import support_rules as rules
from tests.support import ROOT
from tests.support_rules import Rule, Source

ALLOWED_IMPORTS: Mapping[str, set[str]] = {
    "shared": {"shared"},
    "relay": {"relay", "shared"},
    "worker": {"worker", "shared"},
    "tailrace": {"tailrace", "relay", "worker", "shared"},
    "bench": {"bench", "tailrace", "relay", "worker", "shared"},
}
OURS = {*ALLOWED_IMPORTS, "tests"}

SDK_OWNERS: Mapping[str, str] = {
    "anthropic": "worker/providers/anthropic.py",
    "openai": "worker/providers/openai.py",
    "google": "worker/providers/gemini.py",
}

# Who may break a rule, and why. An exception that nobody needs any more fails its test.
ENVIRONMENT_READERS: Mapping[str, str] = {
    "shared/settings.py": "the one reader of the services' settings",
    "shared/client_settings.py": "the one reader of the client's settings: an address and a key, no service's",
    "shared/processes/launch.py": "hands the environment on, unread, to the programs that are started as children",
}
BOUNDARIES: Mapping[str, str] = {
    "relay/respond.py": "the connection's boundary: a defect becomes a logged 500",
    "worker/short_jobs.py": "the job's boundary: a broken job must not end a worker that runs other streams",
    "worker/supervisor.py": "the attempt's boundary: a defect costs one stream an attempt, never the worker",
}
STREAM_COMMANDERS: Mapping[str, str] = {
    "shared/stream_log.py": "the one owner of the commands on logs and live channels",
    "relay/canceller.py": "hastens a cancel on the worker's control channel, which is no stream's",
}
SLEEPERS: Mapping[str, str] = {
    "tests/support.py": "the pause between two looks of eventually",
    "tests/relay/log_writer.py": "random pauses that shuffle a race; nothing relies on their length",
    "tests/relay/test_subscription.py": "as above",
    "tests/messages_server.py": "the pace of a far-away LLM is what it plays",
    "tests/e2e/crowd.py": "a client waits before it reconnects, which is what it plays",
    "tests/e2e/test_rolling_restart.py": "as above",
    "tests/faults/pace.py": "faults last and clients wait before they come back; what is waited for has a condition",
}


def sources(*roots: str, suffix: str = ".py") -> list[Source]:
    """Return the files of the project under ``roots``."""
    paths = [path for root in roots for path in sorted((ROOT / root).rglob(f"*{suffix}"))]
    return [Source(str(path.relative_to(ROOT)), path.read_text()) for path in paths if "__pycache__" not in path.parts]


PRODUCT = sources(*ALLOWED_IMPORTS)
SHIPPED = sources("shared", "relay", "worker", "tailrace")
TESTS = sources("tests")
LUA = sources("shared", suffix=".lua")


def check(rule: Rule, files: list[Source], excused: Mapping[str, str] | None = None) -> None:
    """Fail with all that breaks ``rule`` in ``files``, and with the exceptions among ``excused`` that nobody needs."""
    by_path = {source.path: rule(source) for source in files}
    excused = excused or {}
    faults = [fault for path, found in by_path.items() if path not in excused for fault in found]
    faults += [f"{path}: needs no exception any more" for path in excused if not by_path.get(path)]
    assert not faults, "\n".join(["", *faults])


def test_imports_run_one_way() -> None:
    """``tailrace -> relay, worker, shared``; ``relay -> shared``; ``worker -> shared``; shared needs nobody."""
    faults = []
    for source in PRODUCT:
        faults += rules.forbidden_imports(source, ALLOWED_IMPORTS[source.path.split("/")[0]], OURS)
    assert not faults, "\n".join(faults)


def test_the_python_client_brings_in_no_service() -> None:
    """Whoever imports the client, directly or by the package, gets neither relay nor worker nor their needs."""
    modules = {source.module: source for source in SHIPPED}
    for start in sorted(name for name in modules if name == "tailrace" or name.startswith("tailrace.client")):
        services = sorted(name for name in rules.reachable(start, modules) if name.startswith(("relay", "worker")))
        assert services == [], f"importing {start} brings in {services}"


@pytest.mark.parametrize(("sdk", "owner"), SDK_OWNERS.items())
def test_each_provider_sdk_has_one_importer(sdk: str, owner: str) -> None:
    """Everybody else speaks in canonical events."""
    users = [source.path for source in PRODUCT if source.path != owner and sdk in rules.imported_roots(source)]
    assert [path for path in users if not path.startswith("bench/")] == []


def test_redis_keys_are_spelled_in_one_file() -> None:
    """A second spelling of a key is a bug that no type checker sees."""
    check(rules.key_literals, PRODUCT, {"shared/keys.py": "the owner"})


def test_the_environment_has_one_reader() -> None:
    """All else is handed its settings, so that a test can build them without an environment."""
    check(rules.environment_reads, SHIPPED, ENVIRONMENT_READERS)


def test_stream_commands_have_one_owner() -> None:
    """Fencing holds only if nobody appends, reads or publishes past the log's own file and its scripts."""
    check(rules.stream_commands, SHIPPED, STREAM_COMMANDERS)


def test_metrics_are_named_in_one_file() -> None:
    """A dashboard is written against one list."""
    check(rules.metric_definitions, SHIPPED, {"shared/metrics.py": "the owner"})


def test_no_file_is_too_big() -> None:
    """A file is a noun; test modules may be longer, since each module has one, whatever it needs."""
    helpers = [source for source in TESTS if not source.path.rpartition("/")[2].startswith("test_")]
    check(rules.too_long, PRODUCT + helpers)


@pytest.mark.parametrize("rule", [rules.long_functions, rules.wide_functions], ids=lambda rule: rule.__name__)
def test_no_function_is_too_big(rule: Rule) -> None:
    """A function tells one story, and more than six parameters want a name of their own."""
    check(rule, PRODUCT + TESTS)


@pytest.mark.parametrize("rule", [rules.unexplained, rules.untyped], ids=lambda rule: rule.__name__)
def test_public_functions_are_contracts(rule: Rule) -> None:
    """Typed, and with a docstring that says what the caller gets."""
    check(rule, PRODUCT)


def test_every_exception_is_caught_only_at_the_boundaries() -> None:
    """At most three, each named above, and one place in each."""
    check(rules.broad_excepts, PRODUCT, BOUNDARIES)
    assert len(BOUNDARIES) <= 3
    assert all(len(rules.broad_excepts(source)) <= 1 for source in PRODUCT)


def test_every_task_has_a_parent() -> None:
    """A task whose handle is dropped may vanish in the middle, and its error with it."""
    check(rules.dropped_tasks, PRODUCT + TESTS)


def test_lua_scripts_are_short_and_say_what_they_take() -> None:
    """At most 40 lines, with a header of what it does, KEYS, ARGV and what it returns; keys are handed in."""
    assert LUA, "there are no scripts"
    check(rules.lua_faults, LUA)


def test_no_test_sleeps() -> None:
    """A fixed sleep is too long on a fast machine and too short on a slow one."""
    check(rules.fixed_sleeps, TESTS, SLEEPERS)


def test_no_test_mocks_our_own_code() -> None:
    """What passes against a mock says nothing about the real thing."""
    check(rules.doubles, TESTS)
