"""A tenant as it is stored: found, judged, saved, its keys sealed and opened."""
