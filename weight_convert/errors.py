"""What goes wrong with a checkpoint file."""

from detr_common.errors import InputError


class CheckpointError(InputError):
    """A checkpoint cannot be read or written: the message names the file, the fault and what to do."""


class NamedError(CheckpointError):
    """One whose message begins with the file that it is about, so that no other name is put before it."""


def printable(text: str, most: int = 600) -> str:
    """A text that may hold what stood in a file: without characters that a terminal would act on, and not endless.

    Args:
        text: it.
        most: so many characters are left of a longer one: its beginning, and its end, where messages say what to do.
    """
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in _cut(text, most))
    return _cut(shown, most)


def _cut(text: str, most: int) -> str:
    end = most // 4
    return text if len(text) <= most else f"{text[: most - end - 3]}...{text[-end:]}"
