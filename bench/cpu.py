"""CPU time and memory of processes, as Linux counts them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_CHILDREN = 13
"""Where the ticks of reaped children, in user and system mode, stand behind the name in ``stat``."""
_SCHED_CLOCK = 2
"""Of a process's clocks the one that counts user and system time to the nanosecond; ``stat`` has ticks of 10 ms."""


def family_cpu_s(pids: Iterable[int]) -> float:
    """Return the seconds of CPU, user and system, that the processes and all they have started have used so far.

    Children that live are looked for; children that have ended are in their parent's account. A process that is not
    there counts as nothing: whoever needs it alive looks himself.
    """
    return sum(own_cpu_s(pid) + _reaped_cpu_s(pid) for pid in family(pids))


def own_cpu_s(pid: int) -> float:
    """Return the same of one process without its children."""
    try:
        return time.clock_gettime((~pid << 3) | _SCHED_CLOCK)  # the kernel's name for the clock of that process
    except OSError:
        return 0.0


def family(pids: Iterable[int]) -> set[int]:
    """Return the processes and all their living descendants."""
    found: set[int] = set()
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += _children(pid)
    return found


def _reaped_cpu_s(pid: int) -> float:
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return 0.0
    after_name = stat[stat.rindex(")") + 2 :].split()  # the name may hold spaces and brackets
    return sum(int(ticks) for ticks in after_name[_CHILDREN : _CHILDREN + 2]) / _TICKS_PER_S


def _children(pid: int) -> list[int]:
    """Return the children of every thread of a process."""
    try:
        lists = [(task / "children").read_text() for task in (_PROC / str(pid) / "task").iterdir()]
    except OSError:  # it has just ended
        return []
    return [int(child) for text in lists for child in text.split()]


def rss_bytes(pid: int) -> int:
    """Return the memory that a process has in use (its resident set); 0 when it is not there."""
    try:
        pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def pin(pids: Iterable[int], cpus: Iterable[int]) -> None:
    """Have all threads of the processes and of all they have started run on these CPUs alone, and what they start."""
    for pid in family(pids):
        for task in list((_PROC / str(pid) / "task").iterdir()):
            os.sched_setaffinity(int(task.name), cpus)
