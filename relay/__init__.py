"""The stateless relay: takes client connections, starts streams, and fans their events out again."""
