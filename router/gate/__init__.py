"""Who calls, determined before the body is read; how often, how many, how large it may be."""
