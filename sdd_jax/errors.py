"""The one exception that is shown to the user as a single line, without a traceback."""


class InputError(Exception):
    """What the user gave cannot be used.

    The message is one line: what was found, what was expected, the way out.
    """
