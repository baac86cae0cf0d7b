"""The rules of the architecture as functions from source text to what breaks them; each answer is one line."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

MOST_LINES = 300
MOST_FUNCTION_LINES = 50
MOST_PARAMETERS = 6
MOST_LUA_LINES = 40

Function = ast.FunctionDef | ast.AsyncFunctionDef
Rule = Callable[["Source"], list[str]]

_BROAD = {"", "Exception", "BaseException"}
_GROUPS = ("tg", "tasks", "group", "task_group", "_group", "_tasks", "self._group", "self._tasks")
_KEY = re.compile(r"(?<![A-Za-z0-9_])tr:")
_STREAM_COMMAND = re.compile(r"\b(XADD|XRANGE|XREVRANGE|XREAD|XLEN|XTRIM|S?PUBLISH)\b")
_STREAM_METHODS = {"xadd", "xrange", "xrevrange", "xread", "xlen", "xtrim", "publish", "spublish"}
_ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
_METRICS = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}
_DOUBLES = {"unittest.mock", "mock", "pytest_mock", "fakeredis", "burner_redis"}


@dataclass(frozen=True)
class Source:
    """One file: its path from the root, as ``relay/live/hub.py``, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed module."""
        return ast.parse(self.text, self.path)

    @property
    def module(self) -> str:
        """The module's dotted name."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def package(self) -> str:
        """The dotted name of the package it is in."""
        return self.module if self.path.endswith("/__init__.py") else self.module.rpartition(".")[0]

    def at(self, node: ast.AST, what: str) -> str:
        """Return one line of report about ``node``."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {what}"


def imports(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """Yield every dotted name that is imported anywhere in the module, also inside functions and by text."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = source.package.split(".")[: len(source.package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield node, base
            yield from ((node, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield node, first.value


def imported_roots(source: Source) -> dict[str, ast.AST]:
    """Return the top-level packages that the module imports, with one place of each."""
    return {name.split(".")[0]: node for node, name in imports(source)}


def forbidden_imports(source: Source, allowed: set[str], ours: set[str]) -> list[str]:
    """Return the imports of packages of ours that are not among ``allowed``."""
    found = imported_roots(source).items()
    return [source.at(node, f"imports {root}") for root, node in found if root in ours - allowed]


def reachable(start: str, modules: Mapping[str, Source]) -> set[str]:
    """Return the modules of ours that importing ``start`` brings in, packages on the way included."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        while name:
            if name in modules and name not in seen:
                seen.add(name)
                waiting.extend(imported for _node, imported in imports(modules[name]))
            name = name.rpartition(".")[0]
    return seen


def functions(source: Source) -> Iterator[tuple[str, Function, bool]]:
    """Yield (qualified name, function, is public) for every function, nested ones too; those are never public."""

    def walk(node: ast.AST, prefix: str, public: bool) -> Iterator[tuple[str, Function, bool]]:  # noqa: FBT001
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function):
                shown = public and not child.name.startswith("_")
                yield prefix + child.name, child, shown
                yield from walk(child, f"{prefix}{child.name}.", False)
            elif isinstance(child, ast.ClassDef):
                yield from walk(child, f"{prefix}{child.name}.", public and not child.name.startswith("_"))
            else:
                yield from walk(child, prefix, public)

    yield from walk(source.tree, "", True)


def texts(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """Yield every literal text of the module, parts of f-strings and bytes included, docstrings not."""
    tree = source.tree
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in prose:
            if isinstance(node.value, str):
                yield node, node.value
            elif isinstance(node.value, bytes):
                yield node, node.value.decode("latin-1")


def too_long(source: Source) -> list[str]:
    """Return the file itself if it has too many lines."""
    lines = source.text.count("\n")
    return [f"{source.path}: {lines} lines, more than {MOST_LINES}"] if lines > MOST_LINES else []


def long_functions(source: Source) -> list[str]:
    """Return the functions that tell more than one story."""
    sizes = [(name, node, (node.end_lineno or 0) - node.lineno + 1) for name, node, _public in functions(source)]
    return [source.at(node, f"{name} has {size} lines") for name, node, size in sizes if size > MOST_FUNCTION_LINES]


def wide_functions(source: Source) -> list[str]:
    """Return the functions with too many parameters, ``self`` counted."""
    counts = [
        (name, node, len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]))
        for name, node, _public in functions(source)
    ]
    return [
        source.at(node, f"{name} has {count} parameters") for name, node, count in counts if count > MOST_PARAMETERS
    ]


def unexplained(source: Source) -> list[str]:
    """Return the public functions without a docstring."""
    public = [(name, node) for name, node, shown in functions(source) if shown]
    return [source.at(node, f"{name} has no docstring") for name, node in public if not ast.get_docstring(node)]


def untyped(source: Source) -> list[str]:
    """Return the public functions that lack an annotation."""
    found = []
    for name, node, public in functions(source):
        named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        bare = [arg.arg for arg in named if arg and arg.arg not in ("self", "cls") and arg.annotation is None]
        if public and (bare or node.returns is None):
            found.append(source.at(node, f"{name} is not typed: {', '.join(bare) or 'its return'}"))
    return found


def key_literals(source: Source) -> list[str]:
    """Return the places that spell the prefix of our Redis keys."""
    return [source.at(node, f"spells a key: {text!r}") for node, text in texts(source) if _KEY.search(text)]


def stream_commands(source: Source) -> list[str]:
    """Return the places that issue commands on logs or channels, by method or by name."""
    named = [source.at(node, f"says {text!r}") for node, text in texts(source) if _STREAM_COMMAND.search(text)]
    called = [
        source.at(node, f"calls .{node.func.attr}()")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _STREAM_METHODS
    ]
    return named + called


def environment_reads(source: Source) -> list[str]:
    """Return the places that touch the process's environment, or let pydantic read it."""
    found = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr in _ENVIRONMENT and ast.unparse(node.value) == "os":
            found.append(source.at(node, f"reads os.{node.attr}"))
        elif isinstance(node, ast.ImportFrom) and node.module in ("os", "pydantic_settings"):
            names = {alias.name for alias in node.names} & (_ENVIRONMENT | {"BaseSettings"})
            found += [source.at(node, f"imports {name}") for name in sorted(names)]
    return found


def metric_definitions(source: Source) -> list[str]:
    """Return the imports of what defines a metric."""
    return [
        source.at(node, f"imports {name}")
        for node, name in imports(source)
        if name.startswith("prometheus_client.") and name.rpartition(".")[2] in _METRICS
    ]


def broad_excepts(source: Source) -> list[str]:
    """Return the places that catch, or suppress, every exception."""
    found = []
    for node in ast.walk(source.tree):
        kinds: list[ast.expr] = []
        if isinstance(node, ast.ExceptHandler):
            kinds = list(node.type.elts) if isinstance(node.type, ast.Tuple) else [node.type or ast.Name("")]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            kinds = list(node.args)
        if any(ast.unparse(kind).removeprefix("builtins.") in _BROAD for kind in kinds):
            found.append(source.at(node, "catches every exception"))
    return found


def dropped_tasks(source: Source) -> list[str]:
    """Return the tasks that nobody holds: created outside a group, and the handle thrown away."""
    found = []
    for node in ast.walk(source.tree):
        thrown = isinstance(node, ast.Expr) or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_")
        value = getattr(node, "value", None)
        if thrown and isinstance(value, ast.Call):
            owner, _, name = ast.unparse(value.func).rpartition(".")
            if name in ("create_task", "ensure_future", "run_coroutine_threadsafe") and owner not in _GROUPS:
                found.append(source.at(node, f"drops the handle of {owner or name}"))
    return found


def fixed_sleeps(source: Source) -> list[str]:
    """Return the sleeps; a test waits for a condition with a deadline instead. Giving way, ``sleep(0)``, is none."""
    calls = [node for node in ast.walk(source.tree) if isinstance(node, ast.Call)]
    sleeps = [node for node in calls if ast.unparse(node.func).rpartition(".")[2] == "sleep"]
    return [source.at(node, "sleeps") for node in sleeps if not (node.args and ast.unparse(node.args[0]) == "0")]


def doubles(source: Source) -> list[str]:
    """Return the mocks, pretend servers and patched attributes."""
    imported = [source.at(node, f"imports {name}") for node, name in imports(source) if name in _DOUBLES]
    calls = [node for node in ast.walk(source.tree) if isinstance(node, ast.Call)]
    patches = [node for node in calls if ast.unparse(node.func).endswith(("monkeypatch.setattr", "mocker.patch"))]
    return imported + [source.at(node, "patches an attribute") for node in patches]


def lua_faults(source: Source) -> list[str]:
    """Return what a script lacks: brevity, or a header that says what it does, takes and returns."""
    lines = source.text.splitlines()
    header = list(takewhile(lambda line: line.startswith("--"), lines))
    body = lines[len(header) :]
    faults = []
    if len(lines) > MOST_LUA_LINES:
        faults.append(f"{source.path}: {len(lines)} lines, more than {MOST_LUA_LINES}")
    if not header or header[0].startswith(("-- KEYS", "-- ARGV", "-- Returns")):
        faults.append(f"{source.path}: the header does not say what it does")
    said = [name for name in ("KEYS", "ARGV", "Returns") if any(line.startswith(f"-- {name}") for line in header)]
    faults += [f"{source.path}: the header has no {name}" for name in ("KEYS", "ARGV", "Returns") if name not in said]
    if _KEY.search("\n".join(body)):
        faults.append(f"{source.path}: spells a key")
    return faults
