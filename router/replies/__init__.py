"""What is said: the prompt, the reply that a provider makes of it, the parts it is sent in."""
