"""Checkpoints between PyTorch, Jittor and safetensors; reading never runs code from the file."""

from weight_convert.errors import CheckpointError
from weight_convert.files import read, read_state_dict, write

__all__ = ["CheckpointError", "read", "read_state_dict", "write"]
