"""Checkpoints between PyTorch, Jittor and safetensors; reading never runs code from the file."""

from weight_convert.errors import CheckpointError
from weight_convert.files import read, read_state_dict, write
from weight_convert.tree import NumpyArray, keep_numpy

__all__ = ["CheckpointError", "NumpyArray", "keep_numpy", "read", "read_state_dict", "write"]
