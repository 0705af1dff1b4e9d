"""How variables are read, judged and complained about; `router.settings` is the face of it."""
