"""What reading a pickle may cost: no more than the file is long for.

A pickle may hand one list to a million calls, or hold keys that all have the same hash: a small file would keep its
reader busy for hours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from weight_convert.errors import CheckpointError

# Calls may be handed so many parts for each byte of the pickle, beside short ones.
PER_BYTE = 4
AT_LEAST = 1 << 16
SHORT = 8
# Keys whose hashes a file can choose, and so have every one compared with all before it.
MAX_ODD_KEYS = 20_000
_SIZED = (str, bytes, bytearray, list, tuple, dict, set, frozenset)


class Budget:
    """Counts the cost of one pickle.

    Args:
        taken: tells how many bytes of it were taken.
    """

    def __init__(self, taken: Callable[[], int]) -> None:
        self._taken = taken
        self._spent = self._odd = 0

    def call(self, arguments: Any) -> None:
        """Pay for a call with these arguments, or for a state.

        Raises:
            CheckpointError: they are far more, all together, than the pickle holds.
        """
        parts = (arguments, *arguments[:SHORT]) if type(arguments) is tuple else (arguments,)
        for part in parts:
            size = part.nbytes if type(part) is memoryview else len(part) if isinstance(part, _SIZED) else 0
            if size > SHORT:
                self._spent += size
                if not isinstance(part, (str, bytes, bytearray)):
                    self.keys(() if type(part) is memoryview else part)
        if self._spent > PER_BYTE * self._taken() + AT_LEAST:
            raise CheckpointError("damaged pickle (it makes far more of its parts than it holds)")

    def keys(self, keys: Iterable[Any]) -> None:
        """Count keys of dictionaries and members of sets, before they are put there.

        Raises:
            CheckpointError: too many of them could be made to have one hash.
        """
        self._odd += sum(map(_is_odd, keys))
        if self._odd > MAX_ODD_KEYS:
            raise CheckpointError(f"has more than {MAX_ODD_KEYS:,} keys that are neither text nor usual numbers")


def _is_odd(key: Any) -> bool:
    """Whether its hash can be chosen; that of text cannot, nor that of a tuple with text in it."""
    if isinstance(key, (tuple, list)):
        return not any(isinstance(part, (str, bytes)) and part for part in key[:SHORT])
    return isinstance(key, (float, complex)) or (isinstance(key, int) and abs(key) >= 2**60)
