"""Tests of relay/."""
