"""The streams of a cluster: many servers, each with its part, of which any may be asked for what it does not have."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import RedisError, TryAgainError

from shared import keys
from shared.claims import Claim
from shared.cluster import Cluster
from shared.cluster_map import slot_of
from shared.entry import Entry, encode_blob
from shared.events import AttemptEvent, DeltaEvent, EndEvent
from shared.offset import NO_ENTRY, EntryId
from shared.redis_client import streams_redis
from shared.settings import Settings
from shared.stream_log import Append, Appended, Glance, Place, StreamLog
from tests.relay.log_writer import RECORD, LogWriter
from tests.support import eventually
from tests.support_cluster import ClusterSet
from tests.support_redis import RedisProcess


@pytest.fixture
async def client(cluster: ClusterSet) -> AsyncIterator[Cluster]:
    """Give a client of the test's cluster."""
    made = streams_redis(Settings(streams_url=cluster.url, redis_timeout_s=2))
    assert isinstance(made, Cluster)
    yield made
    await made.aclose()


@pytest.fixture
def stream_log(client: Cluster) -> StreamLog:
    """Give the streams of the test's cluster."""
    return StreamLog(client, Settings())


async def writers(stream_log: StreamLog, count: int) -> list[LogWriter]:
    """Return so many claimed streams."""
    made = [LogWriter(stream_log) for _ in range(count)]
    for writer in made:
        await writer.start()
        await writer.claim()
    return made


def next_words(writer: LogWriter) -> Append:
    """Return an append of what the writer says next."""
    entry = Entry(EntryId(writer.attempt, len(writer.entries) + 1), encode_blob([DeltaEvent(0, text="w")], 3))
    writer.entries.append(entry)
    return Append(writer.stream_id, f"t{writer.attempt}", writer.attempt, entry.id, entry.blob)


async def place(cluster: ClusterSet, writer: LogWriter) -> tuple[int, RedisProcess, RedisProcess]:
    """Return the stream's slot, the server that has it and another one."""
    slot = slot_of(keys.record(writer.stream_id))
    source = await cluster.owner(slot)
    return slot, source, next(one for one in cluster.primaries if one is not source)


async def test_rule_3_appends_to_all_servers_are_one_call_with_an_outcome_each(
    cluster: ClusterSet, stream_log: StreamLog
) -> None:
    """Sixty streams spread over three primaries; one of them is not what it should be, and stops alone."""
    streams = await writers(stream_log, 60)
    slot, source, _ = await place(cluster, streams[30])
    assert slot == slot_of(keys.log(streams[30].stream_id))
    await cluster.ask(source, "SET", keys.log(streams[30].stream_id), "no log", "EX", 60)
    outcomes = await stream_log.append([next_words(writer) for writer in streams])
    assert [outcome.status for outcome in outcomes] == ["done"] * 30 + ["error"] + ["done"] * 29
    assert "WRONGTYPE" in outcomes[30].detail
    sizes = [await cluster.ask(server, "DBSIZE") for server in cluster.primaries]
    assert sum(sizes) == 120
    assert min(sizes) > 0


async def test_several_appends_of_one_stream_stay_in_their_order(stream_log: StreamLog) -> None:
    """Whatever the way to their server."""
    streams = await writers(stream_log, 5)
    outcomes = await stream_log.append([next_words(writer) for _ in range(4) for writer in streams])
    assert outcomes == [Appended("done")] * 20
    for writer in streams:
        assert [one.id for one in await stream_log.read(writer.stream_id, NO_ENTRY, 9)] == [
            one.id for one in writer.entries
        ]


async def test_a_server_that_does_not_know_a_script_is_given_it(cluster: ClusterSet, stream_log: StreamLog) -> None:
    """One server of three was replaced: the others do not notice, and nothing is appended twice."""
    streams = await writers(stream_log, 12)
    await stream_log.append([next_words(writer) for writer in streams])
    await cluster.ask(cluster.primaries[1], "SCRIPT FLUSH")
    assert {one.status for one in await stream_log.append([next_words(writer) for writer in streams])} == {"done"}
    assert {glance.length for glance in await stream_log.glance([one.stream_id for one in streams])} == {4}


async def test_a_moved_slot_is_followed(cluster: ClusterSet, stream_log: StreamLog) -> None:
    """A client that has seen the cluster before finds the stream at its new server, for reading and writing."""
    (writer,) = await writers(stream_log, 1)
    slot, _, target = await place(cluster, writer)
    await cluster.move(slot, target)
    assert await stream_log.append([next_words(writer)]) == [Appended("done")]
    assert len(await stream_log.read(writer.stream_id, NO_ENTRY, 9)) == 3
    assert await cluster.ask(target, "XLEN", keys.log(writer.stream_id)) == 3


async def test_a_stream_whose_slot_is_on_its_way_is_written_where_its_keys_are(
    cluster: ClusterSet, stream_log: StreamLog
) -> None:
    """Before and after its keys have gone; in between, with the record there and the log here, not at all."""
    (writer,) = await writers(stream_log, 1)
    slot, source, target = await place(cluster, writer)
    record, live_log = keys.record(writer.stream_id).encode(), keys.log(writer.stream_id).encode()
    await cluster.begin_move(slot, target)
    assert await stream_log.append([next_words(writer)]) == [Appended("done")]
    await cluster.migrate(source, target, [record])
    halfway = next_words(writer)
    assert await stream_log.append([halfway]) == [Appended("error", detail="TryAgainError")]
    assert await stream_log.record(writer.stream_id) is not None
    assert len(await stream_log.read(writer.stream_id, NO_ENTRY, 9)) == 3
    await cluster.migrate(source, target, [live_log])
    assert await stream_log.append([halfway]) == [Appended("done")]
    assert (await stream_log.glance([writer.stream_id]))[0].length == 4
    await writer.end()
    await cluster.finish_move(slot, target)
    assert [one.id for one in await stream_log.read(writer.stream_id, NO_ENTRY, 9)] == [
        one.id for one in writer.entries
    ]


async def test_an_attempt_after_a_move_gets_a_number_that_no_lost_one_can_have(
    cluster: ClusterSet, stream_log: StreamLog
) -> None:
    """Another server is another history: it cannot know that nothing was lost, so the number leaps; readers go on."""
    (writer,) = await writers(stream_log, 1)
    slot, _, target = await place(cluster, writer)
    await cluster.move(slot, target)
    event = AttemptEvent(2, "lease_expired", "prefill", "sim", "sim", "")
    granted = await stream_log.claim(writer.stream_id, Claim(1, "t2", "worker-2"), event, 2)
    assert granted.follows == writer.entries[-1].id
    assert granted.attempt > 1000


async def test_a_stream_that_begins_in_a_slot_on_its_way_is_told_to_try_again(
    cluster: ClusterSet, stream_log: StreamLog
) -> None:
    """Neither server may make it, since the other one might have it; nothing is left behind."""
    writer = LogWriter(stream_log)
    slot, _, target = await place(cluster, writer)
    await cluster.begin_move(slot, target)
    with pytest.raises(TryAgainError):
        await writer.start()
    assert await stream_log.record(writer.stream_id) is None
    await cluster.finish_move(slot, target)
    await writer.start()


async def test_a_dead_server_keeps_only_its_own_streams_and_delays_nobody(
    cluster: ClusterSet, stream_log: StreamLog
) -> None:
    """A hung one costs one deadline, then nearly nothing; once it is back its streams go on."""
    streams = await writers(stream_log, 30)
    owners = [(await place(cluster, writer))[1] for writer in streams]
    dead = owners[0]
    expected = ["error" if owner is dead else "done" for owner in owners]
    dead.pause()
    try:
        appends = [next_words(writer) for writer in streams]
        assert [one.status for one in await stream_log.append(appends)] == expected
        before_s = time.monotonic()
        for _ in range(5):
            assert [one.status for one in await stream_log.append(appends)] == expected
            looks = await stream_log.outlook([(one.stream_id, RECORD) for one in streams])
            assert [look.status == "error" for look in looks] == [owner is dead for owner in owners]
            glances = await stream_log.glance_each([one.stream_id for one in streams])
            assert [isinstance(glance, Glance) for glance in glances] == [owner is not dead for owner in owners]
        assert time.monotonic() - before_s < 5, "fifteen deadlines would be thirty seconds"
    finally:
        dead.resume()
    await eventually(lambda: all_done(stream_log, appends), 10, "the server is asked again")
    await eventually(cluster.settled, 10)


async def test_a_cluster_that_was_away_whole_is_found_again(cluster: ClusterSet, stream_log: StreamLog) -> None:
    """Every server was killed: each stream is told so, without a wait, until they are back."""
    streams = await writers(stream_log, 6)
    appends = [next_words(writer) for writer in streams]
    for server in cluster.primaries:
        server.kill()
    for _ in range(2):
        assert {one.status for one in await stream_log.append(appends)} == {"error"}
    with pytest.raises(RedisError):
        await stream_log.record(streams[0].stream_id)
    for server in cluster.primaries:
        server.restart()
    await eventually(lambda: all_done(stream_log, appends), 10, "the cluster is back")
    await eventually(cluster.settled, 10)


async def all_done(stream_log: StreamLog, appends: list[Append]) -> bool:
    """Tell whether all is in the logs."""
    return {one.status for one in await stream_log.append(appends)} == {"done"}


async def test_a_scan_passes_every_server(stream_log: StreamLog) -> None:
    """Every stream is found in one round, also when servers come in pages."""
    streams = {writer.stream_id for writer in await writers(stream_log, 30)}
    found: list[str] = []
    where = Place()
    while True:
        where, names = await stream_log.scan(where, 5)
        found += names
        if where == Place():
            break
    assert sorted(found) == sorted(streams)


async def test_a_command_without_a_key_goes_to_any_server(client: Cluster) -> None:
    """As health asks."""
    assert await client.execute_command("PING")


async def test_many_calls_at_once_share_what_they_learn(cluster: ClusterSet, stream_log: StreamLog) -> None:
    """A hundred readers and writers of a moved slot, and of others, at the same time."""
    streams = await writers(stream_log, 20)
    slot, _, target = await place(cluster, streams[0])
    await cluster.move(slot, target)
    appends = [stream_log.append([next_words(writer)]) for writer in streams]
    reads = [stream_log.read(writer.stream_id, NO_ENTRY, 9) for writer in streams for _ in range(4)]
    found = await asyncio.gather(*appends, *reads)
    assert found[:20] == [[Appended("done")]] * 20
    assert {len(page) for page in found[20:] if isinstance(page, list)} <= {2, 3}


async def test_what_is_kept_of_a_request_is_on_the_server_of_its_stream(stream_log: StreamLog) -> None:
    """Kept, settled and erased with the log, wherever that is."""
    for writer in await writers(stream_log, 6):
        await stream_log.kept.keep(writer.stream_id, b"{}")
        await stream_log.kept.settle(writer.stream_id)
        assert await stream_log.kept.read(writer.stream_id) == b"{}"
        await stream_log.close(writer.stream_id, [EndEvent("cancelled")], "t9", 5)
        assert await stream_log.erase(writer.stream_id) == "erased"
        assert await stream_log.kept.read(writer.stream_id) is None
