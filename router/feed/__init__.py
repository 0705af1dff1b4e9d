"""Reports changes to followers at once, as server-sent events with ids and kinds."""
