"""HybridFlow's router: each WhatsApp message gets one right answer, and humans stay in control."""

__version__ = "0.3.0.dev0"
