"""The chat page at ``/``, its files and the browser client it uses: read once, served with validators and a policy."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from shared.errors import NotFoundError

_ROOT = Path(__file__).resolve().parent.parent.parent
_FOLDERS = {"/page": _ROOT / "relay" / "page", "/clients/js": _ROOT / "clients" / "js"}
"""Where files are served, and where they lie: in a checkout as where they are installed."""
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Trusted Types without any policy: a script of the page that tried to parse text as HTML would be refused by the
# browser. Together with the rest, nothing a model says can run, load or send anything.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    # The names of the files do not change with their content: browsers ask each time, and get 304.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_Handler = Callable[[web.Request], Awaitable[web.Response]]


def add_page_routes(app: web.Application) -> None:
    """Add ``/``, ``/page/{name}`` and ``/clients/js/{name}``. Raises ``OSError`` if the files are not installed."""
    files = {
        f"{prefix}/{path.name}": _handler(path)
        for prefix, folder in _FOLDERS.items()
        for path in sorted(folder.iterdir())
        if path.suffix in _TYPES
    }

    async def named(request: web.Request) -> web.Response:
        handler = files.get(request.path)
        if handler is None:
            message = "the page has no such file"
            raise NotFoundError(message)
        return await handler(request)

    app.router.add_get("/", files["/page/index.html"])
    for prefix in _FOLDERS:
        app.router.add_get(prefix + "/{name}", named)


def _handler(path: Path) -> _Handler:
    """Return what answers with the file, or with 304 to a browser that has it."""
    body = path.read_bytes()
    etag = hashlib.sha256(body).hexdigest()[:32]
    headers = _HEADERS | {"Content-Type": _TYPES[path.suffix], "ETag": f'"{etag}"'}

    async def answer(request: web.Request) -> web.Response:
        known = request.if_none_match or ()
        if any(tag.value in (etag, "*") for tag in known):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers=headers)

    return answer
