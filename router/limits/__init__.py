"""How much, how often and how deep callers may ask."""
