"""Keys are asked about once, at no cost, before anything starts; only a refused one keeps it from starting."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.errors import ConfigurationError
from shared.models import Model, ProviderName
from shared.settings import Settings
from tailrace.local.api_keys import ApiKey, check_api_key, keys_to_check
from tailrace.local.checks import free_port

KEY = SecretStr("sk-test-key")
PROVIDERS: tuple[ProviderName, ...] = ("anthropic", "openai", "google")


def key_of(provider: ProviderName, url: str) -> ApiKey:
    """Return the key of a provider whose API is at ``url``."""
    settings = Settings.model_validate({f"{provider}_api_key": KEY, f"{provider}_base_url": url})
    (key,) = keys_to_check(settings)
    return key


@asynccontextmanager
async def _api(status: int) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """Serve a local API that answers every request with ``status``; give its URL and what was asked."""
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response({}, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("provider", "path", "header"),
    [
        ("anthropic", "/v1/models", "x-api-key"),
        ("openai", "/models", "authorization"),
        ("google", "/v1beta/models", "x-goog-api-key"),
    ],
)
async def test_a_good_key_is_asked_about_once_at_no_cost(provider: ProviderName, path: str, header: str) -> None:
    """One GET of the list of models, with the key where the API expects it."""
    async with _api(200) as (url, seen):
        assert await check_api_key(key_of(provider, url)) is None
    assert [(request.method, request.path) for request in seen] == [("GET", path)]
    assert seen[0].headers[header].endswith("sk-test-key")


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_a_sentence_without_the_key(provider: ProviderName, status: int) -> None:
    """The only answer after which starting would be pointless."""
    async with _api(status) as (url, _seen):
        with pytest.raises(ConfigurationError, match=rf"_API_KEY \(HTTP {status}\)") as raised:
            await check_api_key(key_of(provider, url))
    assert "sk-test" not in str(raised.value)


@pytest.mark.parametrize("status", [404, 429, 500, 529])
async def test_an_api_that_has_trouble_does_not_keep_the_system_from_starting(status: int) -> None:
    """It may be well again before the first question, and workers retry."""
    for provider in PROVIDERS:
        async with _api(status) as (url, _seen):
            assert await check_api_key(key_of(provider, url)) is None


async def test_an_api_that_cannot_be_reached_is_a_warning() -> None:
    """A laptop may get its network back later."""
    warning = await check_api_key(key_of("openai", f"http://127.0.0.1:{free_port()}"))
    assert warning is not None
    assert "The OpenAI API cannot be reached now" in warning


async def test_checking_a_key_can_be_cancelled() -> None:
    """Ctrl-C while an API hangs must not wait for the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await check_api_key(key_of("anthropic", url))


def test_only_keys_that_models_are_called_with_are_asked_about() -> None:
    """A server of one's own never sees them, and a model that is not offered needs none."""
    own = {"m": Model(provider="openai", base_url="http://own/v1"), "c": Model(provider="anthropic")}
    settings = Settings(models=own, anthropic_api_key=KEY, openai_api_key=KEY, google_api_key=KEY)
    (key,) = keys_to_check(settings)
    assert key.variable == "ANTHROPIC_API_KEY"
    assert "sk-test" not in repr(key)
