"""Relays: messages from people of a business to a contact through HybridFlow."""
