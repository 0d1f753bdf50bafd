"""Where Jittor differs from PyTorch: a catalogue whose every entry is run.

This package holds no framework; ``parity.gotchas.runner`` runs the lines.
"""

from parity.gotchas.autograd import AUTOGRAD
from parity.gotchas.dtypes import DTYPES
from parity.gotchas.entry import Gotcha, Relation, Theme
from parity.gotchas.indexing import INDEXING
from parity.gotchas.layers import LAYERS
from parity.gotchas.losses import LOSSES
from parity.gotchas.modules import MODULES
from parity.gotchas.optimizers import OPTIMIZERS
from parity.gotchas.process import PROCESS
from parity.gotchas.reductions import REDUCTIONS
from parity.gotchas.shapes import SHAPES

THEMES = (INDEXING, REDUCTIONS, DTYPES, SHAPES, LAYERS, LOSSES, AUTOGRAD, OPTIMIZERS, MODULES, PROCESS)
CATALOGUE = {entry.id: entry for theme in THEMES for entry in theme.entries}

__all__ = ["CATALOGUE", "THEMES", "Gotcha", "Relation", "Theme"]
