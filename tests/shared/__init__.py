"""Tests of what relays, workers and clients agree on; one module per module of ``shared/``."""
