"""What runs as long as the program: loops that survive errors, and bounded shutdown."""
