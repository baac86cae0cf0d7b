"""Tests of the clients that people use, as they come from PyPI and npm, and of our own browser client."""
