"""n8n on this machine: installing it, importing `n8n_workflows/` into it, starting it."""
