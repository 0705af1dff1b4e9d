"""What one webhook says, read from Evolution's shape of it: pure."""
