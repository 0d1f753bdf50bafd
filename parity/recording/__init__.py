"""Recordings: what one framework did on every rung, kept on disk to be compared later and elsewhere."""
