"""The HTTP/1.1 that the provider and the load generator speak: no more than they need, and cheap."""

from __future__ import annotations

from bench.plan import BenchError

_HEAD_END = b"\r\n\r\n"
_MOST_HEAD_BYTES = 65_536


class Head:
    """The first line and the headers of a request or an answer."""

    def __init__(self, head: bytes) -> None:
        """Take everything before the empty line. Raises ``BenchError`` when it is no HTTP."""
        first, *lines = head.decode("latin-1").split("\r\n")
        self.first = first
        self.headers = {
            name.strip().lower(): value.strip() for name, colon, value in (line.partition(":") for line in lines)
        }

    @property
    def length(self) -> int:
        """Bytes of the body, as announced; 0 when nothing was."""
        return int(self.headers.get("content-length", 0))


def split_head(received: bytes) -> tuple[Head, bytes] | None:
    """Return the head and what follows it, or None when it has not all come. Raises ``BenchError`` if it never will."""
    at = received.find(_HEAD_END)
    if at < 0:
        if len(received) > _MOST_HEAD_BYTES:
            message = "what answers there does not speak HTTP"
            raise BenchError(message)
        return None
    return Head(received[:at]), received[at + len(_HEAD_END) :]


def chunk(data: bytes) -> bytes:
    """Return ``data`` as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


class ChunkedBody:
    """A chunked body, decoded as it arrives. Trailers are not known here."""

    def __init__(self) -> None:
        """Begin before the first chunk."""
        self.complete = False
        self._line = b""
        """The beginning of a line whose end has not come."""
        self._left_bytes = 0
        """What the open chunk still lacks."""

    def feed(self, data: bytes) -> bytes:
        """Return the piece of the body that ``data`` brings; ``complete`` is true from its end on."""
        if self._line:
            data, self._line = self._line + data, b""
        pieces: list[bytes] = []
        at = 0
        while not self.complete:
            if self._left_bytes:
                piece = data[at : at + self._left_bytes]
                pieces.append(piece)
                at += len(piece)
                self._left_bytes -= len(piece)
                if self._left_bytes:
                    break
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                self._line = data[at:]
                break
            line, at = data[at:line_end], line_end + 2
            if line:  # an empty one is the end of the chunk before
                self._left_bytes = int(line.partition(b";")[0], 16)
                self.complete = self._left_bytes == 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
