"""The guides are true: their commands are run as a reader runs them."""
