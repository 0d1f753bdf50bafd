"""The errors that a user can act on."""


class InputError(ValueError):
    """Something the user gave cannot be used: the message says what, where, and what to do."""


class NotFiniteError(InputError):
    """A prediction is NaN or infinite, so that nothing can be learnt from it: the message says which and where."""
