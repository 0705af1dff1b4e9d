"""Conversations under faults, played from a seed, and judged: `python -m benchmarks.faults`.

A run has two routers, a PostgreSQL of their own, and the loopback Evolution and LLM. The seed
decides what people do and what goes wrong. The product is used only from outside. The judge
compares what is on the phones, what is in the database, and what people did.
"""
