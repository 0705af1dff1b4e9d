"""Why a file is not opened, in the program that opens files (`decoder`)."""


class Refused(Exception):
    """The file is not opened; the text says why."""
