"""The doors to SQL: one typed function for each public SQL function, by topic.

Nothing else in the project names one of our SQL functions, or a key of its request and answer. What
a function does is in its header in `database/schema/`; nothing is decided here.
"""
