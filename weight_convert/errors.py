"""What goes wrong with a checkpoint file."""

from detr_common.errors import InputError


class CheckpointError(InputError):
    """A checkpoint cannot be read or written: the message names the file, the fault and what to do."""
