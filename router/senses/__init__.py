"""What a contact sent is put into words: fetched, judged by its content, and listened to."""
