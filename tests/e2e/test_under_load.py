"""Many streams at once: what is read together is told together, and nothing is missing."""

from __future__ import annotations

import aiohttp

from tests.conftest import StartRedis, StartService
from tests.e2e.crowd import Crowd, environment, request, said
from tests.messages_server import MessagesServer

STREAMS, TOKENS = 20, 200


async def test_deltas_that_come_together_are_merged(
    redis_server: StartRedis, relay_process: StartService, worker_process: StartService
) -> None:
    """Several tokens between two commits are one event; every text is whole, in one attempt."""
    async with aiohttp.ClientSession() as session, MessagesServer() as provider:
        env = environment(redis_server().url, provider.base_url)
        relay, _worker = await relay_process(**env).ready(30), await worker_process(**env).ready(30)
        async with Crowd(session, [relay]) as crowd:
            await crowd.start(STREAMS, request(tokens=TOKENS, per_second=100))
            await crowd.ended(60)
            crowd.check_whole(said(TOKENS))
            deltas = sum(len(follower.kinds("delta")) for follower in crowd.followers)
    assert deltas < 0.8 * STREAMS * TOKENS
