"""Finds functions of the user's by name: ``FILE.py:NAME`` or ``module:NAME``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from detr_common.errors import InputError

_loaded: dict[Path, tuple[int, ModuleType]] = {}


def find(reference: str) -> Any:
    """Return what a reference names.

    Raises:
        InputError: no such file, module or name; or importing it raised.
    """
    place, _, path = reference.rpartition(":")
    module = _load(place, reference)
    found: Any = module
    for name in path.split("."):
        if not hasattr(found, name):
            near = [one for one in vars(module) if not one.startswith("_")]
            raise InputError(f"{reference}: {place} has no {name}; it has {', '.join(near[:12]) or 'nothing'}")
        found = getattr(found, name)
    return found


def refuse_other(framework: str, reference: str) -> None:
    """Refuse a file that has brought the other framework into this worker.

    Raises:
        InputError: it has.
    """
    other = {"torch": "jittor", "jittor": "torch"}[framework]
    if other in sys.modules:
        raise InputError(
            f"{reference}: imports {other} into the worker of {framework}, whose arithmetic it would change; put the "
            "two models into files of their own, or import frameworks inside the functions"
        )


def _load(place: str, reference: str) -> ModuleType:
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        path = Path(place)
        if not path.is_file():
            raise InputError(f"{reference}: no such file: {path}; paths are from {Path.cwd()}")
        known = _loaded.get(path.resolve())
        if known is not None and known[0] == path.stat().st_mtime_ns:
            return known[1]
        spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
        if spec is None or spec.loader is None:
            raise InputError(f"{reference}: {path} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        # A file imports what lies beside it, as it does when it is run.
        sys.path.insert(0, str(path.resolve().parent))
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        _loaded[path.resolve()] = path.stat().st_mtime_ns, module
        return module
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise InputError(
            f"{reference}: cannot be imported: {error}; is it on the path of the Python that runs it?"
        ) from None
    except Exception as error:
        told = f"{reference}: importing it raised {type(error).__name__}: {error}"
        if isinstance(error, ImportError) and "relative import" in str(error):
            folder, name = path.resolve().parent, f"{path.stem}:{reference.rpartition(':')[2]}"
            told += f"; name what is in a package {folder.name}.{name}, and set PYTHONPATH={folder.parent}"
        raise InputError(told) from error
