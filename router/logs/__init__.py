"""JSON logs through the standard library: the events, the format, and what is removed."""
