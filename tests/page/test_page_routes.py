"""How the relay serves the page: types, validators, and headers that leave nothing to run but our own scripts."""

from __future__ import annotations

import aiohttp
import pytest

from tests.support import ROOT
from tests.support_services import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

_FILES = [f"/page/{file.name}" for file in (ROOT / "relay" / "page").iterdir()]
_FILES += [f"/clients/js/{file.name}" for file in (ROOT / "clients" / "js").glob("*.js")]
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


async def test_every_file_of_the_page_is_served_with_its_type_and_a_strict_policy(relay: Service) -> None:
    """No file is missing, none can be sniffed or framed, and the policy allows this origin alone and nothing inline."""
    async with aiohttp.ClientSession(relay.url) as session:
        for path in ["/", *_FILES]:
            async with session.get(path) as answer:
                assert answer.status == 200, path
                suffix = ".html" if path == "/" else "." + path.rsplit(".", 1)[1]
                assert answer.content_type == _TYPES[suffix]
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Referrer-Policy"] == "no-referrer"
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                assert "*" not in policy


async def test_a_browser_that_has_a_file_gets_304(relay: Service) -> None:
    """Files are revalidated, never guessed fresh; an unchanged one costs no body."""
    async with aiohttp.ClientSession(relay.url) as session:
        async with session.get("/page/app.js") as first:
            assert first.headers["Cache-Control"] == "no-cache"
            etag = first.headers["ETag"]
        async with session.get("/page/app.js", headers={"If-None-Match": etag}) as second:
            assert second.status == 304
            assert await second.read() == b""
            assert second.headers["ETag"] == etag
        async with session.head("/") as head:
            assert head.status == 200


@pytest.mark.parametrize("folder", ["page", "clients/js"])
@pytest.mark.parametrize("name", ["nothing.js", "..%2Fapp.py", "%2e%2e%2fapp.py", "index.html.py", "package.json"])
async def test_nothing_but_the_page_is_served(relay: Service, folder: str, name: str) -> None:
    """Other names, and paths that try to climb out, are 404 in the one shape of errors."""
    async with aiohttp.ClientSession(relay.url) as session, session.get(f"/{folder}/{name}") as answer:
        assert answer.status == 404
        assert (await answer.json())["error"]["code"] == "not_found"
