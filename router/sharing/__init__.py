"""Who gets how much of what is scarce: places, shares, rates, the bench. It knows no work."""
