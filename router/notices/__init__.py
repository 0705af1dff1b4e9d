"""Notices tell a business's people about handoffs, a lost connection to WhatsApp, and so on."""
