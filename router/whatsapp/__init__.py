"""What WhatsApp's words mean: pure, and of the project it knows the errors alone."""
