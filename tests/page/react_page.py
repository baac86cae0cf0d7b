"""A page with React and the hook, served at a relay's own origin: React comes from npm as it is, whichever major."""

from __future__ import annotations

import json
from collections.abc import Mapping

from playwright.async_api import Page, Route

from tests.clients.support_node import NODE

REACT_FILES: Mapping[int, Mapping[str, str]] = {
    18: {
        "react": "react18/cjs/react.development.js",
        "scheduler": "react-dom18/node_modules/scheduler/cjs/scheduler.development.js",
        "react-dom": "react-dom18/cjs/react-dom.development.js",
        "react-dom/client": "react-dom18/client.js",
    },
    19: {
        "react": "react/cjs/react.development.js",
        "scheduler": "scheduler/cjs/scheduler.development.js",
        "react-dom": "react-dom/cjs/react-dom.development.js",
        "react-dom/client": "react-dom/cjs/react-dom-client.development.js",
    },
}
_FRAME = """
const process = { env: { NODE_ENV: "development" } };
const loaded = {};
function require(name) {
  if (!(name in loaded)) {
    const module = (loaded[name] = { exports: {} });
    sources[name](module, module.exports);
  }
  return loaded[name].exports;
}
export const { createElement, StrictMode, useEffect, useState, useSyncExternalStore, version } = require("react");
export const { createRoot } = require("react-dom/client");
"""
_PAGE = """<!doctype html><title>hook</title><div id="root"></div>
<script type="importmap">{"imports": {"react": "/hook/react.js"}}</script>
<script type="module" src="/hook/hook.js"></script>"""
_HOOK = """
import { createElement, createRoot, StrictMode, version } from "react";
import { useTailrace } from "/clients/js/react.js";

globalThis.shown = [];
globalThis.started = [];
function Chat({ streamId }) {
  const chat = (globalThis.chat = useTailrace({ streamId, onStart: (id) => globalThis.started.push(id) }));
  if (globalThis.shown.at(-1) !== chat.text) {
    globalThis.shown.push(chat.text);
  }
  return createElement("p", { id: "text", "data-status": chat.status, "data-connection": chat.connection }, chat.text);
}
const root = createRoot(document.getElementById("root"));
globalThis.show = (props) => root.render(props && createElement(StrictMode, null, createElement(Chat, props)));
globalThis.reactVersion = version;
"""


async def open_hook(page: Page, url: str, major: int) -> None:
    """Open the page at the relay's origin: ``show({streamId})`` shows the component, ``show(null)`` removes it.

    ``started``, ``shown`` and ``chat`` tell what the component was told.
    """
    sources = "".join(
        f"{json.dumps(name)}(module, exports) {{\n{(NODE / 'node_modules' / path).read_text()}\n}},\n"
        for name, path in REACT_FILES[major].items()
    )
    files = {
        "hook.html": ("text/html", _PAGE),
        "hook.js": ("text/javascript", _HOOK),
        "react.js": ("text/javascript", f"const sources = {{\n{sources}}};\n{_FRAME}"),
    }

    async def fulfil(route: Route) -> None:
        kind, body = files[route.request.url.rsplit("/", 1)[1]]
        await route.fulfill(content_type=f"{kind}; charset=utf-8", body=body)

    await page.route("**/hook/*", fulfil)
    await page.goto(f"{url}/hook/hook.html")
    await page.wait_for_function("globalThis.show !== undefined")
