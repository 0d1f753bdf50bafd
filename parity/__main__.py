"""``python -m parity``."""

from detr_common.memory import keep_freed_memory
from parity.cli import main

if __name__ == "__main__":
    # The large arrays of one comparison are followed by those of the next, and fresh memory costs more than reading it.
    keep_freed_memory()
    main()
