"""HybridFlow's router: WhatsApp messages in, one right reply out, humans in charge."""

__version__ = "0.3.0.dev0"
