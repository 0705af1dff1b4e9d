"""n8n as the handler of turns: what it is given, and what it may do with it."""
