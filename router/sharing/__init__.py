"""Divides what is scarce: places, shares, rates, the bench. It knows nothing of the work itself."""
