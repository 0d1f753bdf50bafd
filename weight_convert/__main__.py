"""Run the command line."""

from weight_convert.cli import app

app(prog_name="python -m weight_convert")
