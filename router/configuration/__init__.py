"""How variables are read and checked, and how errors are reported; start with `settings`."""
