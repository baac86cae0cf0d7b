"""Tests of the whole system: real relays, workers and Redis, and a client in front."""
