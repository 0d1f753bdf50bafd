"""Run the command line."""

import sys

from weight_convert.cli import run

sys.exit(run())
