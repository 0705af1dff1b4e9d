"""What a contact sent, put into words: fetched, identified by its content, and transcribed."""
