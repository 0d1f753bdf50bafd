"""``python -m detr_pt``: train a detector, go on with a run, or evaluate a checkpoint."""

import argparse
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import count
from pathlib import Path

from detr_common.coco import build_dataset
from detr_common.dataset import Photographs
from detr_common.errors import InputError, report
from detr_common.evaluate import evaluate_found
from detr_common.loader import Loader
from detr_common.logs import Meter, cut_log, summary_lines, write_evaluation, write_log, write_summary
from detr_common.memory import keep_freed_memory, keep_imported
from detr_common.options import get_training_parser
from detr_common.panoptic import CocoPanoptic
from detr_common.run import (
    Means,
    check_training_args,
    checkpoints_due,
    end,
    interrupted,
    let_interrupt,
    plainly,
    step_seed,
    stopping_signals,
)
from detr_pt.checkpoint import load_weights, resume, save_checkpoint
from detr_pt.detr import build_model
from detr_pt.engine import evaluate, set_seed, train_one_epoch
from detr_pt.optimizer import build_optimizer, build_scheduler, named_parameters
from detr_pt.processes import available_device, gather, learner, rank, together, world_size

SUFFIX = ".pth"
PANOPTIC = "panoptic_eval"


class Trainer:
    """A detector, its optimizer, and how far the run is.

    Args:
        args: options, see ``detr_common.options.get_training_parser``; they are checked.

    Attributes:
        epoch: that comes next, or has begun.
        means: of its steps that were taken.
        on_step: called with what each step returned; its number in the epoch is ``means.count - 1``.

    Raises:
        InputError: the data or the checkpoint cannot be used.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.output = Path(args.output_dir) if args.output_dir and rank() == 0 else None
        self.validation = build_dataset("val", args)
        self.training = None if args.eval else build_dataset("train", args)
        self.seen = build_dataset("train", plainly(args)) if args.eval_train and not args.eval else None
        self.on_step: Callable[[dict[str, float]], None] = lambda values: None
        set_seed(args.seed)
        self.model, self.criterion, self.postprocessors = build_model(args)
        if "panoptic" in self.postprocessors and isinstance(self.validation, CocoPanoptic):
            self.postprocessors["panoptic"].is_thing_map.update(self.validation.panoptic.things)
        self.epoch, self.means = args.start_epoch, Means()
        if args.eval:
            load_weights(self.model, args.resume)
            return
        self.learner = learner(self.model)
        self.optimizer = build_optimizer(self.model, args)
        self.lr_scheduler = build_scheduler(self.optimizer, args)
        begun = resume(args.resume, self.model, self.optimizer, self.lr_scheduler) if args.resume else None
        if begun:
            self.epoch, self.means = begun
        elif args.frozen_weights:
            load_weights(self.model.detr, args.frozen_weights)
        if self.output:
            cut_log(self.output, self.epoch)

    def train(self) -> bool:
        """Train the epochs that are left; return False if SIGTERM came before the last was over."""
        args = self.args
        with (
            stopping_signals() as came,
            self.loader(self.training, shuffle=True) as batches,
            self.loader(self.validation) as unseen,
            nullcontext() if self.seen is None else self.loader(self.seen) as seen,
        ):
            while self.epoch < args.epochs:
                self.train_epoch(batches, came)
                if self.stopped(came) and self.means.count < len(batches.indices(self.epoch)):
                    self.save(["checkpoint"], self.epoch - 1, self.means)
                    return False
                self.finish_epoch(unseen, seen)
                if self.stopped(came) and self.epoch < args.epochs:
                    return False
        return True

    def loader(self, dataset: Photographs, shuffle: bool = False) -> Loader:
        """Return the batches of this process."""
        args = self.args
        return Loader(dataset, args.batch_size, args.num_workers, shuffle, args.seed, rank(), world_size())

    def stopped(self, came: Sequence[int]) -> bool:
        """Whether any process was told to stop."""
        return any(gather(bool(came)))

    def train_epoch(self, batches: Loader, came: Sequence[int]) -> None:
        """Take the steps that are left of an epoch, until a signal comes."""
        first = self.means.count
        meter = Meter(f"epoch {self.epoch}", len(batches.indices(self.epoch)), first)

        def after_step(values: dict[str, float]) -> bool:
            if rank() == 0:
                meter.step(values)
            self.on_step(values)
            return not self.stopped(came)

        train_one_epoch(
            self.learner,
            self.criterion,
            self.optimizer,
            batches.epoch(self.epoch, first),
            self.args.clip_max_norm,
            self.means,
            (step_seed(self.args.seed, self.epoch, step, rank()) for step in count(first)),
            after_step,
        )

    def finish_epoch(self, unseen: Loader, seen: Loader | None) -> None:
        """Evaluate, write log and checkpoint, and go on to the next epoch."""
        epoch, args = self.epoch, self.args
        train = {"lr": self.optimizer.param_groups[0]["lr"], **self.means.values()}
        self.lr_scheduler.step()
        due = args.eval_every and ((epoch + 1) % args.eval_every == 0 or epoch + 1 == args.epochs)
        test = self.evaluate(unseen) if due else {}
        more = {"n_parameters": sum(weight.numel() for weight in named_parameters(self.optimizer).values())}
        on_seen = self.evaluate(seen) if due and seen is not None else {}
        if self.output:
            write_log(self.output, epoch, train, test, on_seen, more)
            if test:
                write_summary(self.output, epoch, test)
        self.epoch, self.means = epoch + 1, Means()
        self.save(checkpoints_due(epoch, args), epoch, None)

    def evaluate(self, batches: Loader) -> dict[str, float]:
        """Return the losses and the figures of photographs, and print the latter."""
        means, found = evaluate(self.model, self.criterion, self.postprocessors, batches.epoch(0))
        # As upstream, panoptic maps of the photographs for validation are left beside the logs.
        folder = self.output / PANOPTIC if self.output and batches.dataset is self.validation else None
        figures = evaluate_found(batches.dataset, found, folder)
        if rank() == 0:
            print("\n".join(summary_lines(figures)), flush=True)
        return {**means.values(), **figures}

    def save(self, names: Sequence[str], epoch: int, means: Means | None) -> None:
        """Write checkpoints, if there is a folder for them."""
        if self.output:
            for name in names:
                path = self.output / (name + SUFFIX)
                save_checkpoint(path, self.model, self.optimizer, self.lr_scheduler, epoch, self.args, means)


def run(args: argparse.Namespace) -> None:
    """Do what the options ask for.

    Raises:
        InputError: an option, the data or a checkpoint cannot be used, or a checkpoint cannot be written.
        NotFiniteError: the run diverged; the last checkpoint is whole.
    """
    check_training_args(args)
    trainer = Trainer(args)
    if args.eval:
        with trainer.loader(trainer.validation) as unseen:
            figures = trainer.evaluate(unseen)
        if trainer.output:
            write_evaluation(trainer.output, figures)
        return
    if trainer.epoch >= args.epochs and rank() == 0:
        print(f"all {args.epochs} epochs are over; give more --epochs to go on")
    if not trainer.train() and rank() == 0:
        where = f"; go on with --resume {Path(args.output_dir, 'checkpoint' + SUFFIX)}" if args.output_dir else ""
        print(f"stopped in epoch {trainer.epoch} by SIGTERM{where}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0, also where SIGTERM stopped the run and its checkpoint was written; 1 where the run diverged;
        2 where an option, the data or a file cannot be used; 130 where Ctrl-C ended it.
    """
    description = "Train DETR on photographs in COCO's format, go on with a run, or evaluate a checkpoint."
    parser = argparse.ArgumentParser("python -m detr_pt", description=description, parents=[get_training_parser()])
    parser.set_defaults(device=available_device())
    args = parser.parse_args(argv)
    keep_freed_memory()
    let_interrupt()
    try:
        with together(args.device):
            run(args)
    except InputError as error:
        return report(error)
    except KeyboardInterrupt:
        return interrupted(args, SUFFIX)
    return 0


if __name__ == "__main__":
    keep_imported()
    end(main())
