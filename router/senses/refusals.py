"""The refusal of a file, in the program that opens files (`decoder`)."""


class Refused(Exception):
    """The file is not opened; the text says why."""
