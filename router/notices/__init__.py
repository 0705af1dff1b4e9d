"""Notices: a business's people are told of a handoff, a lost connection to WhatsApp, and so on."""
