"""The turn's way out: claimed, made, fenced, sent, recorded."""
