"""What goes wrong with a checkpoint file."""

from detr_common.errors import InputError


class CheckpointError(InputError):
    """A checkpoint cannot be read or written: the message names the file, the fault and what to do."""


class NamedError(CheckpointError):
    """One whose message begins with the file that it is about, so that no other name is put before it."""
