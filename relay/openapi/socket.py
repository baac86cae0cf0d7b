"""The WebSocket as an OpenAPI path item: its handshake, that is; what is said on it is in docs/websocket.md."""

from __future__ import annotations

from relay.openapi.parts import TEXT, Part, answer, refusals
from shared import errors


def socket_paths() -> dict[str, Part]:
    """Return the path item of the WebSocket."""
    protocols: Part = {
        "name": "Sec-WebSocket-Protocol",
        "in": "header",
        "required": True,
        "schema": TEXT,
        "description": "`tailrace.v1`, and beside it, where no header can be sent, `tailrace.key.` with the API key in "
        "base64url, or `tailrace.link.STREAM_ID.TOKEN` with a signed link's token.",
    }
    agreed: Part = {"Sec-WebSocket-Protocol": {"required": True, "schema": {"const": "tailrace.v1", "type": "string"}}}
    return {
        "/v1/ws": {
            "get": {
                "operationId": "openSocket",
                "summary": "A WebSocket: many streams on one connection",
                "description": "A browser's socket is opened and closed at once instead of being answered 401, 429 or "
                "503, none of which a page could see: with code 4401, 4129 or 4103.",
                "tags": ["streams"],
                "parameters": [protocols],
                "responses": {"101": answer("Open.", None, agreed)}
                | refusals(
                    errors.InvalidRequestError,
                    errors.ForbiddenError,
                    errors.LimitError,
                    errors.OverloadedError,
                    errors.UnavailableError,
                ),
            }
        }
    }
