"""What the loopback programs are held to: they answer, and refuse, as the real ones do."""
