"""A harness that shows how far a Jittor port is from its PyTorch model.

``compare_models`` runs the ladder on any two models; see its docstring and ``docs/port-a-model.md``.
"""

from parity.policy import Calibrated32, Exact64, Steps
from parity.port.compare import PortSession, compare_models
from parity.port.port import Port
from parity.port.recipe import Optimizer
from parity.port.verdict import PortVerdict

__all__ = ["Calibrated32", "Exact64", "Optimizer", "Port", "PortSession", "PortVerdict", "Steps", "compare_models"]
