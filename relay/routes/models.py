"""Which models can be asked for: one answer in which native clients and the SDKs of other APIs find what they want."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from relay.respond import json_answer
from relay.services import SERVICES
from shared.errors import NotFoundError
from shared.models import Model
from shared.settings import Settings


def add_model_routes(app: web.Application) -> None:
    """Add the routes of this module."""
    app.router.add_get("/v1/models", models, allow_head=False)
    app.router.add_get("/v1/models/{model:.+}", look, allow_head=False)


async def models(request: web.Request) -> web.Response:
    """Answer with all of them. Native clients read ``models``; SDKs read ``data``, which is always the only page."""
    services = request.app[SERVICES]
    services.authenticator.tenant(request)
    shown = [_shown(services.settings, name, model) for name, model in services.settings.offered_models().items()]
    ids = [model["id"] for model in shown]
    pages = {"has_more": False, "first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    return json_answer({"models": shown, "object": "list", "data": shown, **pages})


async def look(request: web.Request) -> web.Response:
    """Answer with one of them. Raises ``NotFoundError``."""
    services = request.app[SERVICES]
    services.authenticator.tenant(request)
    name = request.match_info["model"]
    model = services.settings.offered_models().get(name)
    if model is None:
        message = "there is no such model; GET /v1/models lists those there are"
        raise NotFoundError(message)
    return json_answer(_shown(services.settings, name, model))


def _shown(settings: Settings, name: str, model: Model) -> dict[str, Any]:
    """Return a model. Nobody knows when it was made; the SDKs' types want to be told, and take the epoch for that."""
    default = settings.default_model or next(iter(settings.offered_models()))
    native = {
        "id": name,
        "provider": model.provider,
        "max_tokens": min(model.max_tokens, settings.max_tokens_cap),
        "default": name == default,
    }
    openai = {"object": "model", "created": 0, "owned_by": model.provider}
    anthropic = {"type": "model", "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
    return native | openai | anthropic
