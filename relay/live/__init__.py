"""Live delivery: from what Redis publishes to the inbox of each subscription in this process."""
