"""Where a continued answer meets what was said before: removes what the provider repeats, and nothing else."""

from __future__ import annotations


class Joint:
    """Filters the first text of a continuation.

    A server that echoes the prefill sends it first, perhaps with other white space; it is dropped once it is whole,
    and told after all when the text turns out to be something else. White space that the stream already has at its
    end (``overlap``) is dropped where the continuation starts with the same.
    """

    def __init__(self, echo: str, overlap: str) -> None:
        """Take the text that may be echoed, "" for a server that does not, and the white space already told."""
        self._echo = "".join(echo.split())
        self._matched = 0
        self._held: list[str] = []
        self._overlap = overlap

    def feed(self, text: str) -> str:
        """Return what of ``text``, and of earlier text held back, is new. Holds back only a possible echo."""
        if self._echo:
            text = self._without_echo(text)
        return self._without_overlap(text) if self._overlap else text

    def flush(self) -> str:
        """Return what is still held back, at the end of the block: an echo that broke off was none."""
        held = "".join(self._held)
        self._held.clear()
        self._echo = ""
        return self._without_overlap(held)

    def _without_echo(self, text: str) -> str:
        """Compare ``text`` with the echo, white space aside; return what follows it, or all if it is no echo."""
        for at, char in enumerate(text):
            if char.isspace():
                continue
            if char != self._echo[self._matched]:
                released = "".join((*self._held, text))
                break
            self._matched += 1
            if self._matched == len(self._echo):
                released = text[at + 1 :]
                break
        else:
            self._held.append(text)
            return ""
        self._held.clear()
        self._echo = ""
        return released

    def _without_overlap(self, text: str) -> str:
        """Drop from ``text`` the white space that the stream has already."""
        same = 0
        while same < len(text) and same < len(self._overlap) and text[same] == self._overlap[same]:
            same += 1
        self._overlap = self._overlap[same:] if same == len(text) else ""
        return text[same:]
