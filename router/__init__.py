"""HybridFlow's router: each WhatsApp message gets one right answer, and humans stay in control."""

import gc

__version__ = "0.3.0.dev0"

GC_THRESHOLD = gc.get_threshold()
"""When Python itself collects garbage; a server goes back to it (`router.running.lasting`)."""

# Loading makes hundreds of thousands of objects that stay. To walk through them again and again
# would be a fifth of the time that a program needs to start.
gc.set_threshold(100_000, 20, 100)
