"""The ways to reach LLMs: one module per provider, and the registry that makes them from the settings."""
