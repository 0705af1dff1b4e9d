"""The doors to SQL: one typed function for each public SQL function, by topic.

No other module names one of our SQL functions, or a key of its request or answer. The function's
header in `database/schema/` says what it does. Nothing is decided here.
"""
