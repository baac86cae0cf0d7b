"""Defects that an adversarial reading of the core has found, each held by a test of the interleaving that showed it."""
