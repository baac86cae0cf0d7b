"""What Tailrace costs beside the usual ways to stream an answer, measured in one run: ``python -m bench``."""
