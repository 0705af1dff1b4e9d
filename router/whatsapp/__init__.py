"""What WhatsApp's data means. Pure; it imports only the errors of the project."""
