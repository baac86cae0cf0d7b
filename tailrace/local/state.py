"""What the runner keeps in the working directory: Redis's data, the parts' logs, and the lock that guards both."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ConfigurationError

STATE = Path(".tailrace")
_LOG_BYTES = 8_388_608


@dataclass(frozen=True)
class State:
    """The directories of one runner; all exist."""

    root: Path

    @property
    def redis(self) -> Path:
        """Where the private Redis keeps its data, over all runs."""
        return self.root / "redis"

    @property
    def logs(self) -> Path:
        """Where the parts' logs of this run are."""
        return self.root / "logs"


@contextmanager
def claim_state(root: Path) -> Iterator[State]:
    """Make the directories under ``root`` and hold them against a second runner until the context ends.

    Raises ``ConfigurationError`` when another runner holds them or they cannot be written. The lock ends with this
    process, whatever ends it; the lock file itself stays, since removing it would let two runners lock two files.
    """
    state = State(root.absolute())
    try:
        for directory in (state.root, state.redis, state.logs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (state.root / "lock").open("a+")
    except OSError as error:
        message = f"Tailrace keeps its data in {state.root}, which cannot be written: {error.strerror}"
        raise ConfigurationError(message) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            message = (
                f"Tailrace already runs in this directory (process {lock.read().strip() or 'unknown'}): "
                "stop that one, or start from another directory"
            )
            raise ConfigurationError(message) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield state


class PartLog:
    """The log file of one part: empty at start, and never more than two files of ``limit_bytes`` each."""

    def __init__(self, path: Path, limit_bytes: int = _LOG_BYTES) -> None:
        """Begin an empty log at ``path``; the previous run's is lost."""
        self.path = path
        self._limit_bytes = limit_bytes
        self._file = path.open("wb", buffering=0)
        self._older().unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Append ``data``; when the file is full it becomes the older one, and the one before that is dropped.

        What cannot be written is lost: a full disk must not stop the part that logs.
        """
        with suppress(OSError):
            if self._file.tell() + len(data) > self._limit_bytes:
                self.path.replace(self._older())
                self._file.close()
                self._file = self.path.open("wb", buffering=0)
            self._file.write(data)

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()

    def _older(self) -> Path:
        return self.path.with_suffix(".log.1")
