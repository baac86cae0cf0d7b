"""Tests of several processes of one program: real processes, real signals, real connections."""
