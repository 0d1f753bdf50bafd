"""Where Jittor differs from PyTorch: a catalogue whose every entry is run.

This package holds no framework; ``parity.gotchas.runner`` runs the lines.
"""

from parity.gotchas.entry import Gotcha, Relation, Theme
from parity.gotchas.indexing import INDEXING
from parity.gotchas.reductions import REDUCTIONS

THEMES = (INDEXING, REDUCTIONS)
CATALOGUE = {entry.id: entry for theme in THEMES for entry in theme.entries}

__all__ = ["CATALOGUE", "THEMES", "Gotcha", "Relation", "Theme"]
