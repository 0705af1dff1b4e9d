"""Speed, as ratios: each script measures the two sides of a comparison in one run."""
