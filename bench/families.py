"""The families of rows, in the order in which they are measured."""

from __future__ import annotations

from bench.row import Family
from bench.rows import fan_out, first_token, growth, idle, loads, memory, one_core, resume, starts

FAMILIES: tuple[Family, ...] = (
    first_token.IDLE,
    loads.FAMILY,
    first_token.LOADED,
    one_core.FAMILY,
    growth.FAMILY,
    starts.FAMILY,
    memory.FAMILY,
    resume.FAMILY,
    fan_out.FAMILY,
    idle.FAMILY,
)
