"""Conversations under faults, played from a seed, and judged: `python -m benchmarks.faults`.

Two routers, a PostgreSQL of their own, the loopback Evolution and LLM. What people do and what goes
wrong is drawn from the seed; the product is met only from outside. The judge compares what is on
the phones, what the database holds, and what people did.
"""
