"""Lets the wall clock of a Python process jump, as a clock that is set does: an hour forth or back at each SIGUSR2.

Python imports a module of this name at its start when it is on PYTHONPATH. The monotonic clock stays as it is, which
is what the kernel does when the wall clock is set.
"""

import signal
import time

_HOUR_S = 3600.0
_true_time = time.time
_jumps = [_HOUR_S, -_HOUR_S, -_HOUR_S, _HOUR_S]
_ahead_s = 0.0


def _shifted() -> float:
    return _true_time() + _ahead_s


def _jump(_signal: int, _frame: object) -> None:
    global _ahead_s  # noqa: PLW0603 - the clock is the process's
    _jumps.append(_jumps.pop(0))
    _ahead_s += _jumps[-1]


time.time = _shifted
signal.signal(signal.SIGUSR2, _jump)
