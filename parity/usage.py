"""What a command was asked to do, checked before anything is started or written."""

from __future__ import annotations

import argparse
import difflib
import os
import shlex
import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from detr_common import jittor_cuda
from detr_common.errors import InputError
from detr_common.jittor_paths import jittor_root
from detr_common.options import get_args_parser, get_training_parser
from parity.mutants import CATALOGUE, sized
from parity.output import PROGRAM

# What a comparison decides itself.
_OWN = ("dtype", "output_dir", "resume", "eval", "eval_train", "start_epoch")


class _ModelOptions(argparse.ArgumentParser):
    """The detector's own options; a wrong value is one line. Abbreviations are refused, since they hide misspellings.

    Args:
        prog: the command, for messages.
        parser: of the options.
    """

    def __init__(self, prog: str, parser: argparse.ArgumentParser) -> None:
        super().__init__(prog=prog, parents=[parser], add_help=False, allow_abbrev=False)
        # A comparison runs both; None tells that the option was not given.
        self.set_defaults(dtype=None)

    def error(self, message: str) -> NoReturn:
        """Refuse, in place of printing every option and ending the process."""
        raise InputError(f"{message}; {self.prog} --help lists the options")


def model_args(
    arguments: Sequence[str], prog: str, own_options: Iterable[str], training: bool = False
) -> argparse.Namespace:
    """Parse the detector's options of a comparison.

    Args:
        arguments: what is left of the command line.
        prog: the command, for messages.
        own_options: the options that the command itself takes, with their dashes, to suggest where one is misspelt.
        training: take the options of the training programs too.

    Raises:
        InputError: an unknown option, a wrong value, or ``--dtype``, since both are compared.
    """
    parser = _ModelOptions(prog, get_training_parser() if training else get_args_parser())
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        name = next((word.split("=")[0] for word in unknown if word.startswith("-")), "")
        if not name:
            parser.error(f"unexpected argument: {unknown[0]}")
        known = [*own_options, *(option for action in parser._actions for option in action.option_strings)]
        parser.error(f"no such option: {name}{did_you_mean(name, known)}")
    if args.dtype is not None:
        raise InputError("--dtype: a comparison runs in float64 and in float32 both; leave it out")
    args.dtype = "float32"
    return args


def options_help(groups: Collection[str] = ("backbone", "transformer", "run"), training: bool = False) -> str:
    """Return the detector's options for a command's help, one a line, with choices and defaults.

    Args:
        groups: titles of the groups to list.
        training: list those of the training programs too.
    """
    lines = ["Options of the model, those of the detector itself:"]
    for group in (get_training_parser() if training else get_args_parser())._action_groups:
        for action in group._group_actions if group.title in groups else ():
            if action.dest in _OWN:
                continue
            values = f" {{{','.join(map(str, action.choices))}}}" if action.choices else ""
            number = f" {action.type.__name__}" if isinstance(action.type, type) else ""
            default = "" if isinstance(action.default, bool) else f" (default {action.default})"
            lines.append(f"  {action.option_strings[0]}{values}{number}{default}")
    return "\n".join(lines)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean A or B?" with the nearest of the known names, or nothing if none is near."""
    near = difflib.get_close_matches(name, list(dict.fromkeys(known)), n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def check_mutant(mutant: str, args: argparse.Namespace, rungs: Collection[str]) -> None:
    """Refuse a fault that is not there, or that changes nothing here, since its pass would say nothing.

    Args:
        mutant: its name, or ``NAME=SIZE``; empty for none.
        args: options of the detector.
        rungs: those that will run.

    Raises:
        InputError: there is no such fault, or it does not show in this model or in these rungs.
    """
    if not mutant:
        return
    try:
        known = sized(mutant)
    except KeyError:
        hint = did_you_mean(mutant, CATALOGUE)
        raise InputError(f"--mutant {mutant}: no such fault{hint}; {PROGRAM} mutants lists them all") from None
    except ValueError as error:
        raise InputError(f"--mutant {mutant}: {error}") from None
    ladder = list(dict.fromkeys(one.rung for one in CATALOGUE.values()))
    if max(ladder.index(rung) for rung in rungs if rung in ladder) < ladder.index(known.rung):
        raise InputError(f"{mutant}: does not show here; {PROGRAM} {known.rung} --mutant {mutant} finds it")
    for name, value in known.options.items():
        # Others do not decide whether the fault shows, only whether the module that it sits in has this name.
        needed = name in ("dilation", "position_embedding", "lr_drop") and getattr(args, name) != value
        if needed or (name == "dropout" and not args.dropout):
            flag = f"--{name}" if value is True else f"--{name} {value}"
            raise InputError(f"{mutant}: changes nothing in this model; add {flag}")


def check_module(name: str, modules: Sequence[str]) -> None:
    """Refuse a module that no model has; an empty name is none.

    Raises:
        InputError: names the nearest ones.
    """
    if name and name not in modules:
        hint = did_you_mean(name, modules) or f"; they begin with {', '.join(_beginnings(modules))}"
        raise InputError(f"--show {name}: neither model has such a module{hint}")


def _beginnings(modules: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(module.split(".")[0] for module in modules))


def check_file(option: str, path: Path | None) -> None:
    """Refuse a path that is not a file that can be read; None is none.

    Raises:
        InputError: names option and path.
    """
    if path is None:
        return
    if not path.exists():
        raise InputError(f"{option} {path}: no such file; check the path")
    if not path.is_file():
        raise InputError(f"{option} {path}: is not a file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{option} {path}: may not be read by you; change its permissions")


def check_new_folder(option: str, path: Path | None) -> None:
    """Refuse a folder that cannot be made or that holds something; None is none, and nothing is made.

    Raises:
        InputError: names option and path.
    """
    if path is None:
        return
    if path.exists():
        if not path.is_dir():
            raise InputError(f"{option} {path}: is a file; name a new folder")
        if not os.access(path, os.W_OK | os.X_OK):
            raise InputError(f"{option} {path}: may not be written to by you; name another folder")
        if any(path.iterdir()):
            raise InputError(f"{option} {path}: is not empty; name a new folder")
    elif not path.parent.is_dir():
        raise InputError(f"{option} {path}: the folder {path.parent} does not exist; make it first")
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"{option} {path}: you may not make a folder in {path.parent}; name another one")


def check_device(device: str) -> None:
    """Refuse CUDA where Jittor will be built without it; whether PyTorch sees the GPU its own worker finds out.

    Raises:
        InputError: with Jittor's reason.
    """
    if device != "cuda":
        return
    plan = jittor_cuda.plan(jittor_root())
    if not plan.used:
        raise InputError(f"--device cuda: Jittor can use no GPU here ({plan.reason}); leave the option out")


def check_excluding(*options: tuple[str, object]) -> None:
    """Refuse options that exclude each other.

    Args:
        *options: name and value of each; a falsy value was not given.

    Raises:
        InputError: two are given.
    """
    given = [name for name, value in options if value]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} exclude each other; give one of them")


def command_line(arguments: Sequence[str]) -> str:
    """Return a command of this package as one types it here, with the Python that runs now."""
    python = sys.executable
    on_path = shutil.which("python")
    if on_path is not None and os.path.abspath(on_path) == os.path.abspath(python):
        python = "python"
    elif Path(python).is_relative_to(Path.cwd()):
        python = str(Path(python).relative_to(Path.cwd()))
    return shlex.join([python, "-m", *arguments])
