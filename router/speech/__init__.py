"""What is said aloud: which of a reply, in which voice, as WhatsApp takes it."""
