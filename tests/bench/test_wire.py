"""bench/wire.py: heads and chunked bodies, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.plan import BenchError
from bench.wire import LAST_CHUNK, ChunkedBody, chunk, split_head


@given(st.lists(st.binary(min_size=1, max_size=40)), st.lists(st.integers(1, 30)))
def test_a_chunked_body_is_read_the_same_however_it_is_cut(pieces: list[bytes], cuts: list[int]) -> None:
    """The network cuts anywhere, also inside a chunk's size, and what comes out is what went in."""
    wire = b"".join(map(chunk, pieces)) + LAST_CHUNK
    body, read = ChunkedBody(), b""
    for size in [*cuts, len(wire)]:
        assert not (body.complete and wire.strip())
        read += body.feed(wire[:size])
        wire = wire[size:]
    assert read == b"".join(pieces)
    assert body.complete


def test_a_body_without_its_last_chunk_is_not_complete() -> None:
    """An answer that was cut off must not count as read."""
    body = ChunkedBody()
    assert body.feed(chunk(b"hello")[:-4]) == b"hel"
    assert not body.complete


def test_a_head_is_parted_from_what_follows_once_it_is_whole() -> None:
    """Names of headers have no case."""
    assert split_head(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n") is None
    parted = split_head(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    assert parted is not None
    head, rest = parted
    assert (head.first, head.length, rest) == ("HTTP/1.1 200 OK", 5, b"hello")


def test_endless_noise_is_no_head() -> None:
    """Whatever does not speak HTTP is not read for ever."""
    with pytest.raises(BenchError, match="does not speak HTTP"):
        split_head(b"x" * 70_000)
