"""Runs a command that dies with its parent, however the parent dies. It is a program: ``python -I -S tether.py``.

On Linux the kernel does it (``PR_SET_PDEATHSIG``, which survives the ``exec``), and nothing stays in between. This
is a program and not a ``preexec_fn`` because that would run Python in a fork of a process that has threads.
Elsewhere the tether stays: the parent holds the other end of its standard input, and its end is the parent's end.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1
_NOT_RUNNABLE = 127


def tethered(command: list[str]) -> list[str]:
    """Return the command that runs ``command`` as a child of this process that cannot outlive it.

    The child must be given a pipe as standard input that this process keeps open.
    """
    mode = "exec" if sys.platform == "linux" else "watch"
    return [sys.executable, "-I", "-S", __file__, mode, str(os.getpid()), *command]


def _exec(parent: int, command: list[str]) -> None:
    """Become ``command``, to be killed by the kernel when ``parent`` ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was asked
        raise SystemExit(1)
    os.execvp(command[0], command)  # noqa: S606  # not a user's


def _watch(command: list[str]) -> int:
    """Run ``command`` and kill it when standard input ends; return its exit code as a shell would."""
    # What was handed to us open is for the command, as it is where we become it.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False)  # noqa: S603  # not a user's
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    threading.Thread(target=_kill_at_end_of_input, args=(child,), daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


def _kill_at_end_of_input(child: subprocess.Popen[bytes]) -> None:
    """Wait until the parent's end of standard input is closed, then kill ``child``."""
    os.read(sys.stdin.fileno(), 1)
    child.kill()


def main(mode: str, parent: str, *command: str) -> int:
    """Run ``command`` tied to ``parent``; return the exit code, if this process is still there to have one."""
    try:
        if mode == "exec":
            _exec(int(parent), list(command))
        return _watch(list(command))
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
        return _NOT_RUNNABLE


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
