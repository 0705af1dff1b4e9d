"""Relays: what people of a business say to a contact through HybridFlow, on its way."""
