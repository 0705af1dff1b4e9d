"""Files that contacts sent: kept for some days, outside the database."""
