"""The state: PostgreSQL, reached only through its SQL functions."""
