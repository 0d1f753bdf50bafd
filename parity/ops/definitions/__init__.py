"""The operations, in both frameworks. Importing this imports both."""

from parity.ops.definitions.arithmetic import ARITHMETIC
from parity.ops.definitions.boxes import BOXES
from parity.ops.definitions.gradients import GRADIENTS
from parity.ops.definitions.indexing import INDEXING
from parity.ops.definitions.layers import LAYERS
from parity.ops.definitions.losses import LOSSES
from parity.ops.definitions.order import ORDER
from parity.ops.definitions.reductions import REDUCTIONS
from parity.ops.definitions.shapes import SHAPES

_ALL = (*BOXES, *LAYERS, *LOSSES, *REDUCTIONS, *ORDER, *INDEXING, *ARITHMETIC, *SHAPES, *GRADIENTS)
OPERATIONS = {operation.name: operation for operation in _ALL}
