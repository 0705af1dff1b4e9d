"""JSON logs with the standard library's logging: who writes, what never, and in which form."""
