"""The WebSocket: many streams on one connection. See docs/websocket.md."""
