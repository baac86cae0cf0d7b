"""Says before the services start what would keep them from answering: a wrong setting, or no model to answer with.

Run once in the services' own environment; exit code 1 and one sentence per problem.
"""

from __future__ import annotations

import sys

from shared.errors import ConfigurationError
from shared.settings import load_settings

_NO_MODEL = (
    "no model to answer with: set ANTHROPIC_API_KEY, OPENAI_API_KEY or GEMINI_API_KEY, "
    "TAILRACE_MODELS for models of your own, "
    "or TAILRACE_SIM=true for simulated answers"
)


def main() -> int:
    """Check the settings of the environment; return the exit code."""
    try:
        models = load_settings().offered_models()
    except ConfigurationError as error:
        sys.stderr.write(f"tailrace: {error}\n")
        return 1
    if not models:
        sys.stderr.write(f"tailrace: {_NO_MODEL}\n")
        return 1
    sys.stdout.write(f"tailrace: answering with {', '.join(models)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
