"""The fault suite: everything is killed, cut, stalled or doubled, and every reader must still have it all once.

``python -m tests.faults`` runs it; ``docs/faults.md`` says what it does and what came out.
"""
