"""Everything on one machine: a private Redis, the local model, one relay and one worker, started and kept running."""

from tailrace.local.runner import run_local

__all__ = ["run_local"]
