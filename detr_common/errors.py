"""The error that a user can act on."""


class InputError(ValueError):
    """Something the user gave cannot be used: the message says what, where, and what to do."""
