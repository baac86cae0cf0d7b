"""How one of our programs is run as a child: by this Python, from these files, with this process's environment.

The environment is handed on here, not read, since a child also needs what is none of our business (``PATH``, ``HOME``,
proxies, certificates). Settings are read in ``shared.settings`` alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def python_module(name: str) -> list[str]:
    """Return the command that runs module ``name``, and not one of that name in the working directory."""
    return [sys.executable, "-P", "-m", name]


def inherited_environment() -> dict[str, str]:
    """Return this process's environment, in which a Python also finds us where we were not installed."""
    paths = (str(_ROOT), os.environ.get("PYTHONPATH", ""))
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
