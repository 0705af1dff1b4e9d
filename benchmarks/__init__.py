"""Speed, as ratios: each script measures what it compares in one run."""
