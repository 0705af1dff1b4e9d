"""The outside world as programs on loopback: Evolution API with the phones behind it, and LLMs.

They speak the real protocols over HTTP on 127.0.0.1, and fail on demand. The demo and the tests use
the same programs. Each runs in its own thread (`with Evolution() as evolution:`), so that it serves
sync and async callers and survives a killed router; or as its own process (`python -m
loopback.evolution --port 8080`), controlled over HTTP under `/_control`.
"""
