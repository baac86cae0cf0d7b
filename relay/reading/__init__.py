"""Reading one stream for one client: what comes next, how it is told, and how it gets to the socket."""
