"""What may be said and spent: every reply is checked before it is sent, every call is budgeted."""
