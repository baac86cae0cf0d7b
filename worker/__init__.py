"""The worker: runs LLM calls and publishes what they say to the durable log."""
