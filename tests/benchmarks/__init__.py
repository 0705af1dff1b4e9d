"""The benchmarks themselves: do they run to the end, and do they count right?"""
