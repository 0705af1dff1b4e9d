"""Opens the database that the configuration names."""
