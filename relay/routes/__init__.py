"""One module per group of routes; each parses, asks the services, and answers."""
