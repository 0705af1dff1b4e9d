"""What WhatsApp's data means: pure; of the project it imports only the errors."""
