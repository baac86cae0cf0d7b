"""Keys: one slot per stream, no two things under one name, and no client's text in the clear."""

from __future__ import annotations

import inspect

from hypothesis import given
from hypothesis import strategies as st
from redis.cluster import key_slot  # type: ignore[attr-defined]

from shared import keys
from shared.offset import new_stream_id

OF_A_STREAM = [keys.record, keys.log, keys.live, keys.viewers, keys.kept]
FIXED = [value for name, value in vars(keys).items() if name.isupper()]


@given(st.builds(new_stream_id))
def test_all_keys_of_a_stream_share_a_slot(stream_id: str) -> None:
    """A script that touches a record, a log and a channel runs on a Cluster too."""
    assert len({key_slot(build(stream_id).encode()) for build in OF_A_STREAM}) == 1


def test_streams_are_spread_over_the_slots() -> None:
    """The hash tag is the stream's id and nothing that all streams have in common."""
    slots = {key_slot(keys.log(new_stream_id()).encode()) for _ in range(300)}
    assert len(slots) > 250


def test_every_name_begins_with_the_one_prefix() -> None:
    """A Redis that is shared with others can be looked through, and limited by ACL."""
    built = [build("a" * 26) for build in OF_A_STREAM]
    built += [keys.idempotency("t", "k"), keys.tenant_streams("t"), keys.tenant_active("t"), keys.worker_control("w")]
    assert all(name.startswith("tr:") for name in built + FIXED)


def test_the_stream_is_found_in_the_name_of_each_of_its_keys() -> None:
    """What builds the names can be undone, for scans and live messages."""
    stream_id = new_stream_id()
    assert {keys.stream_of(build(stream_id)) for build in OF_A_STREAM} == {stream_id}


def test_no_two_functions_build_the_same_name() -> None:
    """Whatever their arguments are called, also when two arguments are the same text."""
    found = inspect.getmembers(keys, inspect.isfunction)
    functions = [value for _, value in found if value.__module__ == keys.__name__ and value is not keys.stream_of]
    built = [build(*["a" * 26] * len(inspect.signature(build).parameters)) for build in functions] + FIXED
    assert len(set(built)) == len(built)


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_idempotency_keys_differ_where_the_clients_texts_do(one: str, two: str) -> None:
    """Long, odd and nearly equal texts included; none is readable in Redis, and all are as short."""
    names = {keys.idempotency("acme", one), keys.idempotency("acme", two)}
    assert len(names) == len({one, two})
    assert {len(name) for name in names} == {len(keys.idempotency("acme", "k"))}


@given(st.text("ab:{}", min_size=1, max_size=8), st.text("ab:{}", min_size=1, max_size=8), st.text("ab:{}", max_size=8))
def test_tenants_never_meet(one: str, two: str, key: str) -> None:
    """No tenant's name, however chosen, reaches into another's keys."""
    for build in (keys.tenant_streams, keys.tenant_active, lambda tenant: keys.idempotency(tenant, key)):
        assert (build(one) == build(two)) == (one == two)
    assert keys.tenant_streams(one) != keys.tenant_active(two)
