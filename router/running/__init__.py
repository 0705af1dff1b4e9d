"""What runs as long as the program: loops that survive, and endings that have a bound."""
