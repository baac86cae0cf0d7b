"""``tailrace settings``: every setting with what it means, its unit, its default and its value; secrets masked."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from shared.client_settings import load_client_settings
from shared.settings import load_settings
from tailrace.commands.terminal import tell

if TYPE_CHECKING:
    from tailrace.commands.services import Commands

_MASK = "********"
_CREDENTIALS = re.compile(r"(?<=://)[^/\s\"]*(?=@)|(?<=password=)[^&\s\"]*")
_UNITS = {"_s": "seconds", "_ms": "milliseconds", "_bytes": "bytes", "_entries": "entries", "_url": "URL"}


def add_to(commands: Commands) -> None:
    """Add the command."""
    told = "print every setting, its unit, default and value; secrets masked"
    parser = commands.add_parser("settings", help=told, description=f"{told[0].upper()}{told[1:]}.")
    parser.set_defaults(run=_run)


def _run(_args: argparse.Namespace) -> int:
    for settings, of_what in ((load_settings(), "relays, workers, tailrace run"), (load_client_settings(), "clients")):
        tell(f"# {of_what}\n")
        for line in _lines(settings):
            tell(line)
    return 0


def _lines(settings: BaseModel) -> Iterator[str]:
    """Yield each setting as its variable, its meaning, and what it is."""
    for name, field in type(settings).model_fields.items():
        value, default = getattr(settings, name), field.get_default(call_default_factory=True)
        yield _variable(name, field)
        unit = next((unit for end, unit in _UNITS.items() if name.endswith(end)), None)
        yield f"    {field.description}" + (f" [{unit}]" if unit else "")
        shown, usual = _shown(name, value), _shown(name, default)
        yield f"    = {shown}" + (" (default)" if value == default else f" (default: {usual})")
        yield ""


def _variable(name: str, field: FieldInfo) -> str:
    """Return the environment variable that sets the field."""
    alias = field.validation_alias
    first = getattr(alias, "choices", [alias])[0]
    return first if isinstance(first, str) else f"TAILRACE_{name.upper()}"


def _shown(name: str, value: Any) -> str:
    """Return a value as it may be shown: of an address all but user and password, of any other secret nothing."""
    if value is None:
        return "not set"
    if isinstance(value, SecretStr):
        return _shown(name, value.get_secret_value()) if name.endswith("_url") else _MASK
    if isinstance(value, str):
        return _CREDENTIALS.sub(_MASK, value)
    return _CREDENTIALS.sub(_MASK, json.dumps(value, default=_plain))


def _plain(value: Any) -> Any:
    return value.model_dump(exclude_defaults=True) if isinstance(value, BaseModel) else _MASK
