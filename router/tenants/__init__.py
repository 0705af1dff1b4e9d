"""A stored tenant: finding, checking and saving it, sealing and opening its keys."""
