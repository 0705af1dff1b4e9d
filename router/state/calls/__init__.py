"""The doors to SQL: one typed function for each public SQL function, by topic.

Nothing else in the project names a SQL function of ours, or a key of what it takes and answers.
What a function does stands in its header in `database/schema/`; nothing is decided here.
"""
