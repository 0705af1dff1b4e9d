"""Notices: a business's people are told of a handoff, or of a lost connection to WhatsApp."""
