"""Tests of what users type and import."""
