"""The one way out to WhatsApp: what is sent, who speaks, and what became of it."""
