"""``python -m parity.doctor``: the doctor without the rest of the command line."""

import typer

from parity.doctor import doctor_command

typer.run(doctor_command)
