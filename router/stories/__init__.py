"""Stories in words: the life of a turn, or the fate of a message, from what `tell_turn` returns."""
