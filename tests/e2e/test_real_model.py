"""The main job with a real LLM: its worker is killed in the middle, and what readers have is still one answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp

from tests.conftest import StartRedis, StartService
from tests.e2e.crowd import MODEL, Crowd, environment
from tests.support import eventually
from tests.support_llm import local_llm, needs_llm

pytestmark = needs_llm

QUESTION = "Tell me a long story about a boat on a river."
REQUEST: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": QUESTION}],
    "max_tokens": 120,
    "temperature": 0,
}


async def test_an_answer_of_a_real_model_whose_worker_is_killed_still_reads_as_one(
    tmp_path: Path, redis_server: StartRedis, relay_process: StartService, worker_process: StartService
) -> None:
    """At temperature 0 the continuation is what the model would have said anyway: in one block, nothing said twice."""
    async with aiohttp.ClientSession() as session, local_llm(tmp_path) as url:
        env = environment(redis_server().url, url)
        relay = await relay_process(**env).ready()
        workers = [await worker_process(**env).ready(30) for _ in range(2)]
        async with Crowd(session, [relay]) as uncut, Crowd(session, [relay]) as cut:
            await uncut.start(1, REQUEST)
            await uncut.ended(60)
            whole = uncut.followers[0]
            await cut.start(1, REQUEST)
            await eventually(lambda: len(cut.followers[0].kinds("delta")) > 12, 30)
            owner = next(one for one in workers if one.events()[-1]["event"] == "attempt.started")
            owner.kill()
            await cut.ended(60)
            mended = cut.followers[0]
    assert [one["mode"] for one in mended.kinds("attempt")] == ["start", "prefill"]
    assert mended.kinds("reset") == []
    assert len(mended.kinds("block_start")) == 1
    shorter, longer = sorted((mended.text, whole.text), key=len)
    assert longer.startswith(shorter)
    assert len(longer) - len(shorter) < 40, "the tokens left are counted without the model: some too few or too many"
    assert mended.kinds("end")[0]["status"] in ("completed", "incomplete")
