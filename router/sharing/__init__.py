"""Who gets how much of what is scarce: places, shares, rates, turns at a bench. It knows no work."""
