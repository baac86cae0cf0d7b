"""The whole OpenAPI document."""

from __future__ import annotations

from functools import cache
from typing import Any

from relay.openapi.ai_sdk import ai_sdk_schemas
from relay.openapi.anthropic import anthropic_schemas
from relay.openapi.chat import chat_schemas
from relay.openapi.links import link_schemas
from relay.openapi.parts import PARAMETERS
from relay.openapi.paths import paths
from relay.openapi.responses import responses_schemas
from relay.openapi.schemas import schemas

_DESCRIPTION = """Durable streams of LLM answers. Every event of a stream comes once and in order, and a reader may
leave and come back with the id of the last event it has.

Where API keys are configured, a stream belongs to the tenant of the key that started it; to all others it does not
exist. What a route does not allow is 405 with `Allow`, and an unknown route 404, both with the body of every error.
Requests that break HTTP itself are answered 400 in plain text."""


@cache
def describe() -> dict[str, Any]:
    """Return the OpenAPI document. The same object each time: not to be changed."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tailrace", "version": "1", "description": _DESCRIPTION, "license": _LICENSE},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"apiKey": []}, {}],
        "tags": [
            {"name": "streams", "description": "Answers: starting, following, looking at, cancelling, deleting."},
            {"name": "dialects", "description": "The same for the clients of other APIs, as those expect it."},
            {"name": "service", "description": "What operators and tools ask of one relay."},
        ],
        "paths": paths(),
        "components": {
            "schemas": schemas()
            | link_schemas()
            | chat_schemas()
            | responses_schemas()
            | ai_sdk_schemas()
            | anthropic_schemas(),
            "parameters": PARAMETERS,
            "securitySchemes": _SECURITY,
        },
    }


_LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
_SECURITY = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "`Authorization: Bearer KEY`. Wins over `x-api-key`. Not needed where no keys are configured.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
