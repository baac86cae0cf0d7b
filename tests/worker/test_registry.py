"""Which provider serves which model, and which key goes where."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import SecretStr

from shared.errors import ConfigurationError
from shared.models import Model, ProviderName
from shared.settings import Settings
from tests.chat_wire import CHAT
from tests.generate_wire import GENERATE
from tests.messages_server import MessagesServer
from tests.support import ROOT, clean_environment
from tests.wire import Wire
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


@pytest.mark.parametrize(("provider", "module"), [("openai", "openai"), ("google", "google.genai")], ids=str)
def test_an_sdk_that_is_not_installed_is_told_at_start(provider: str, module: str) -> None:
    """In one sentence, with the command that installs it; in a process that cannot import it."""
    program = f"""
import sys
sys.modules[{module!r}] = None
from shared.errors import ConfigurationError
from shared.models import Model, ProviderName
from shared.settings import Settings
from worker.providers.registry import Providers
try:
    Providers(Settings(models={{"m": Model(provider={provider!r}, base_url="http://own")}}))
except ConfigurationError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, env=clean_environment()
    )
    assert done.stdout.strip() == (
        f"the model 'm' is of provider {provider}, whose SDK is not installed: pip install 'tailrace[{provider}]'"
    )


@pytest.mark.parametrize(
    ("wire", "provider", "address", "key"),
    [(CHAT, "openai", "openai_base_url", "openai_api_key"), (GENERATE, "google", "google_base_url", "google_api_key")],
    ids=["openai", "google"],
)
async def test_each_providers_key_goes_to_its_own_api_alone(
    wire: Wire, provider: ProviderName, address: str, key: str
) -> None:
    """A server of one's own gets the key of its model, where it has one, and no other's."""
    async with MessagesServer(wire=wire) as api, MessagesServer(wire=wire) as own:
        version = "/v1" if provider == "openai" else ""
        theirs = SecretStr("sk-own-0123456789abcdef")
        models = {
            "theirs": Model(provider=provider),
            "own": Model(provider=provider, base_url=own.base_url + version),
            "keyed": Model(provider=provider, base_url=own.base_url + version, api_key=theirs),
        }
        settings = Settings.model_validate({"models": models, address: api.base_url + version, key: KEY})
        providers = Providers(settings)
        for model in models.values():
            await asked(providers, model)
        await providers.aclose()
        assert KEY.get_secret_value() in str(api.calls[0].headers)
        assert KEY.get_secret_value() not in str([call.headers for call in own.calls])
        assert [theirs.get_secret_value() in str(call.headers) for call in own.calls] == [False, True]
