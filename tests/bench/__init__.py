"""Tests of the benchmark: that it measures what it says. How fast anything is, no test asks."""
