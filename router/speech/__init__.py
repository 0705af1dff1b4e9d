"""Voice messages: which replies are spoken, by which voice, in WhatsApp's format."""
