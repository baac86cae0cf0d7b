"""Which provider serves which model, and which key goes where."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from shared.errors import ConfigurationError
from shared.models import Model
from shared.settings import Settings
from tests.messages_server import MessagesServer
from worker.llm import Call
from worker.providers.registry import Providers
from worker.providers.sim import SimProvider

KEY = SecretStr("sk-ant-test-0123456789abcdef")


async def asked(providers: Providers, model: Model) -> None:
    """Call a model once."""
    stream = providers.of(model).stream(Call(model, "m", [{"role": "user", "content": "hi"}], 10))
    async for _ in stream:
        pass


async def test_models_of_one_server_share_a_provider() -> None:
    """Its connections are per server, not per model."""
    here, there = "http://127.0.0.1:1", "http://127.0.0.1:2"
    models = {
        "a": Model(provider="anthropic", base_url=here),
        "b": Model(provider="anthropic", base_url=here, max_tokens=5),
        "c": Model(provider="anthropic", base_url=there),
        "d": Model(provider="sim"),
    }
    providers = Providers(Settings(models=models))
    assert providers.of(models["a"]) is providers.of(models["b"]) is not providers.of(models["c"])
    assert isinstance(providers.of(models["d"]), SimProvider)
    await providers.aclose()


async def test_the_key_goes_to_the_anthropic_api_and_to_no_other_server() -> None:
    """A server of one's own, named by a model, must never see it."""
    async with MessagesServer() as api, MessagesServer() as own:
        models = {"claude": Model(provider="anthropic"), "own": Model(provider="anthropic", base_url=own.base_url)}
        providers = Providers(Settings(models=models, anthropic_api_key=KEY, anthropic_base_url=api.base_url))
        for model in models.values():
            await asked(providers, model)
        await providers.aclose()
        assert KEY.get_secret_value() in api.calls[0].headers["authorization"]
        assert KEY.get_secret_value() not in str(own.calls[0].headers)


def test_a_model_that_could_never_be_called_is_refused_at_start() -> None:
    """With a sentence for the person who configured it."""
    with pytest.raises(ConfigurationError, match="the model 'claude' needs ANTHROPIC_API_KEY"):
        Providers(Settings(models={"claude": Model(provider="anthropic")}))


def test_a_provider_that_is_not_here_yet_is_refused_at_start() -> None:
    """Not by the first request that needs it."""
    with pytest.raises(ConfigurationError, match="'gpt' is of provider 'openai', which this version cannot call yet"):
        Providers(Settings(models={"gpt": Model(provider="openai")}))
