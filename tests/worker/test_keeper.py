"""The keeper rides out whatever Redis answers: a worker ends when it is told to, not when a tick fails."""

from __future__ import annotations

from redis import Redis

from tests.conftest import StartRedis, StartService


async def test_a_worker_outlives_a_redis_that_refuses_to_say_whose_lease_is_over(
    redis_server: StartRedis, worker_process: StartService
) -> None:
    """Every script is refused, as while Redis loads or fails over in the middle of a tick; then all is well again."""
    server = redis_server()
    worker = await worker_process(TAILRACE_REDIS_URL=server.url, TAILRACE_SIM="true").ready()
    with Redis.from_url(server.url) as admin:
        admin.execute_command("ACL SETUSER default -eval -evalsha")
        lost = await worker.event("worker.redis_lost")
        assert lost["error"] == "NoPermissionError"
        admin.execute_command("ACL SETUSER default +eval +evalsha")
    worker.terminate()
    assert await worker.ended() == 0
