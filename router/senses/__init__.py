"""Puts media from contacts into words: fetches it, identifies it by its bytes, transcribes it."""
