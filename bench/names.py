"""The names of the rows, as ``--only`` takes them, in the table's order."""

from __future__ import annotations

CPU_TUTORIAL = "cpu-tutorial"
CPU_SDK = "cpu-sdk"
CPU_PROXY = "cpu-proxy"
CPU_DIALECT = "cpu-dialect"
FIRST_TOKEN = "first-token"  # noqa: S105 - a token of text
FIRST_TOKEN_LOADED = "first-token-loaded"  # noqa: S105
GAP = "gap"
ONE_CORE = "one-core"
MEMORY = "memory"
RESUME = "resume"
FAN_OUT = "fan-out"
GROWTH = "growth"
STARTS = "starts"
IDLE = "idle"

ROW_NAMES = (
    CPU_TUTORIAL,
    CPU_SDK,
    CPU_PROXY,
    CPU_DIALECT,
    FIRST_TOKEN,
    FIRST_TOKEN_LOADED,
    GAP,
    ONE_CORE,
    MEMORY,
    RESUME,
    FAN_OUT,
    GROWTH,
    STARTS,
    IDLE,
)
