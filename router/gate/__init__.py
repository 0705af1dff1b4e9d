"""Who calls is told before the body is read; how often, how many and how large it may be."""
