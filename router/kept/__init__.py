"""The files that contacts sent, kept outside the database for some days."""
