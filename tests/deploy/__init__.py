"""Tests of what builds, installs and deploys Tailrace."""
