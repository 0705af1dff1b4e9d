"""Changes, reported at once to those who follow them: ids and kinds, as server-sent events."""
