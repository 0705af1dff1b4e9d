"""How variables are read, judged and complained about; `configuration.settings` is the face of it."""
