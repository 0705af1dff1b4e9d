"""Voice messages: which replies are spoken, in which voice, in WhatsApp's format."""
