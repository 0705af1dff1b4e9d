"""JSON logs on the standard library's logging: who writes, what is never written, in which form."""
