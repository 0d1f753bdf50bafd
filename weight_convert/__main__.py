"""Run the command line."""

import signal
import sys

from detr_common.memory import keep_imported
from weight_convert.cli import run

# Asked to end, by an operator or a batch system: as an exception, so that no half-written file stays behind.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
code = run()
keep_imported()
sys.exit(code)
