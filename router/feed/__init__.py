"""What changes, told at once to who looks at it: by ids and kinds, as server-sent events."""
