"""One module per command of ``tailrace``; each adds its own parser and names what runs it."""
