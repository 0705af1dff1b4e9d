"""The API as HTTP: its errors, headers, bodies and callers, and whether it is well."""
