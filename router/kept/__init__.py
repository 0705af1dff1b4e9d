"""The files that contacts sent, kept outside of the database for some days."""
