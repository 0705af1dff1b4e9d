"""n8n on this machine: installed, filled with the workflows of `n8n_workflows/`, started."""
