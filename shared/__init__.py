"""What relays, workers and clients agree on: events, offsets, the log protocol, settings and errors."""
