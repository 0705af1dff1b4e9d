"""People's data: requests for it, and the hashes that stand for erased contacts."""
