"""The exceptions that are shown to the user as a single line, without a traceback."""


class InputError(Exception):
    """What the user gave cannot be used.

    The message is one line: what was found, what was expected, the way out.
    """


class Stopped(Exception):
    """The program was told to end, and has saved what it did; the message says so."""
