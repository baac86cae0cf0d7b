"""Dialects: a stream's canonical events as one client's wire format has them, each a pure projection in a file."""
