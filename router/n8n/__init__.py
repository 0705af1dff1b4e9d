"""n8n as the handler of turns: what it gets, and what it may do with it."""
