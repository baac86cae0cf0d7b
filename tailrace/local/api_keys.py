"""Whether the providers' keys are right, asked of their APIs before anything is started."""

from __future__ import annotations

from dataclasses import dataclass, field

import aiohttp
from pydantic import SecretStr

from shared.errors import ConfigurationError
from shared.models import ProviderName
from shared.settings import Settings

_DEADLINE_S = 5.0


@dataclass(frozen=True)
class ApiKey:
    """A provider's key, and how its API is asked for the list of its models, which costs nothing."""

    api: str
    variable: str
    """Where the key is read from."""
    url: str
    headers: dict[str, str] = field(repr=False)
    refused: tuple[int, ...] = (401, 403)


def keys_to_check(settings: Settings) -> list[ApiKey]:
    """Return the keys that the offered models are called with, at the addresses they are sent to."""
    used = {model.provider for model in settings.offered_models().values() if model.base_url is None}
    return [_api_key(name, settings) for name in settings.providers_with_keys() if name in used]


def _api_key(provider: ProviderName, settings: Settings) -> ApiKey:
    if provider == "openai":
        url = _joined(settings.openai_base_url, "https://api.openai.com/v1", "/models")
        return ApiKey("OpenAI", "OPENAI_API_KEY", url, {"authorization": f"Bearer {_told(settings.openai_api_key)}"})
    if provider == "google":
        url = _joined(settings.google_base_url, "https://generativelanguage.googleapis.com", "/v1beta/models")
        headers = {"x-goog-api-key": _told(settings.google_api_key)}
        return ApiKey("Gemini", "GEMINI_API_KEY", url, headers, (400, 401, 403))
    url = _joined(settings.anthropic_base_url, "https://api.anthropic.com", "/v1/models?limit=1")
    headers = {"x-api-key": _told(settings.anthropic_api_key), "anthropic-version": "2023-06-01"}
    return ApiKey("Anthropic", "ANTHROPIC_API_KEY", url, headers)


def _joined(base_url: str | None, usual: str, path: str) -> str:
    return (base_url or usual).rstrip("/") + path


def _told(key: SecretStr | None) -> str:
    assert key is not None
    return key.get_secret_value()


async def check_api_key(key: ApiKey) -> str | None:
    """Ask a provider's API for the list of its models; return a warning when it cannot be asked.

    Raises ``ConfigurationError`` only when the API refuses the key: everything else may be over by the time the first
    question is asked, and a worker tries again by itself.
    """
    timeout = aiohttp.ClientTimeout(total=_DEADLINE_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(key.url, headers=key.headers) as answer,
        ):
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return f"The {key.api} API cannot be reached now ({type(error).__name__}): answers fail until it can"
    if status in key.refused:
        message = (
            f"The {key.api} API refused the key in {key.variable} (HTTP {status}): "
            "correct it, or unset it to be answered by the local model"
        )
        raise ConfigurationError(message)
    return None
