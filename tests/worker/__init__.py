"""Tests of the worker; one module per module of ``worker/``."""
