"""The outside world as programs on loopback: Evolution API with the phones behind it, and LLMs.

They speak the real protocols over HTTP on 127.0.0.1, and fail on demand. The demo and the tests
use the same ones. Each runs in a thread of its own (`with Evolution() as evolution:`), so it serves
sync and async callers alike and outlives a router that is killed; or as a process of its own
(`python -m loopback.evolution --port 8080`), scripted over HTTP under `/_control`.
"""
