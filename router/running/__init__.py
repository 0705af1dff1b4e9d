"""Loops that run as long as the program and survive errors; a shutdown with a time limit."""
