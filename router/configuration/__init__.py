"""How variables are read, judged and complained about; `settings` is the face of it."""
