"""The errors that a user can act on."""

import sys
import traceback


class InputError(ValueError):
    """Something the user gave cannot be used: the message says what, where, and what to do."""


class NotFiniteError(InputError):
    """A prediction is NaN or infinite, so that nothing can be learnt from it: the message says which and where."""


def report(error: BaseException) -> int:
    """Say on standard error why a program ends.

    Returns:
        The exit code: 2 where what the user gave cannot be used, 1 for anything else.
    """
    if isinstance(error, InputError):
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1 if isinstance(error, NotFiniteError) else 2
    traceback.print_exception(error)
    sys.stderr.flush()
    return 1
