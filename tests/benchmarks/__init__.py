"""The benchmarks themselves: they run to the end, and count right."""
