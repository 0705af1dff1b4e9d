"""The console in a real Chromium. `make test BROWSER=0` leaves it out; nothing else does."""
