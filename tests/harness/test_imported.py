"""What a process has imported is not looked through for garbage, and what becomes garbage later is found as before."""

import subprocess
import sys

import pytest

SCRIPT = """
import gc, weakref
from detr_common.memory import importing
assert gc.isenabled() and not gc.get_freeze_count()
before = len(gc.get_objects())
try:
    with importing():
        assert not gc.isenabled()
        import {module}
except ImportError as error:
    assert error.name == "nowhere"
assert gc.isenabled()
kept = gc.get_freeze_count()
assert kept > before + {more}, (kept, before)

class Ring:
    def __init__(self):
        self.itself = self

seen = weakref.ref(Ring())
gc.collect()
assert seen() is None, "what was made afterwards is collected"
assert gc.get_freeze_count() <= kept

gc.disable()
with importing():
    pass
assert not gc.isenabled(), "who has turned it off keeps it off"
"""


@pytest.mark.parametrize(("module", "more"), [("numpy", 1000), ("nowhere", -1000)])
def test_only_what_was_imported_is_left_out(module: str, more: int) -> None:
    script = SCRIPT.format(module=module, more=more)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
