"""The tests: real Redis, real sockets, real processes; only the far-away LLM is ever replaced."""
