"""Options of a DETR model and of its training, with the flags, names and defaults of the published detector."""

import argparse

from detr_common.errors import InputError

# The category ids of COCO run to 90 and one more is kept free, as the published checkpoints have it.
NUM_CLASSES = {"coco": 91, "coco_panoptic": 250}

BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101")
BASIC_BACKBONES = ("resnet18", "resnet34")


def get_args_parser() -> argparse.ArgumentParser:
    """Return the parser of every option; a program adds it with ``parents=[get_args_parser()]``.

    Returns:
        A parser made with ``add_help=False``. Defaults are those of DETR-R50.
    """
    parser = argparse.ArgumentParser(add_help=False)
    _add_backbone(parser.add_argument_group("backbone"))
    _add_transformer(parser.add_argument_group("transformer"))
    _add_loss(parser.add_argument_group("loss"))
    _add_optimizer(parser.add_argument_group("optimizer"))
    run = parser.add_argument_group("run")
    run.add_argument("--dataset_file", default="coco", choices=sorted(NUM_CLASSES), help="sets the number of classes")
    run.add_argument("--num_classes", type=int, help="classes without 'no object', if others: above every category id")
    run.add_argument(
        "--device", default="cpu", choices=("cpu", "cuda"), help="training and prediction take a GPU if there is one"
    )
    run.add_argument("--dtype", default="float32", choices=("float32", "float64"), help="dtype of every float")
    run.add_argument("--seed", default=42, type=int)
    return parser


def get_training_parser() -> argparse.ArgumentParser:
    """Return the parser of a training program: all of ``get_args_parser``, the data, and the run."""
    parser = argparse.ArgumentParser(add_help=False, parents=[get_args_parser()])
    data = parser.add_argument_group("data")
    data.add_argument("--coco_path", default="", help="folder that holds train2017, val2017 and annotations")
    data.add_argument(
        "--coco_panoptic_path",
        default="",
        help="for coco_panoptic: folder that holds panoptic_train2017, panoptic_val2017 and annotations",
    )
    data.add_argument(
        "--image_size", default=800, type=int, help="shorter side for evaluation; scales all augmentation"
    )
    data.add_argument("--no_augmentation", dest="augment", action="store_false", help="train on what is evaluated on")
    data.add_argument("--num_workers", default=2, type=int, help="processes that read images; 0 for none")
    run = parser.add_argument_group("training")
    run.add_argument("--batch_size", default=2, type=int, help="images of each process in a step")
    run.add_argument("--epochs", default=300, type=int)
    run.add_argument("--start_epoch", default=0, type=int, help="number of the first epoch")
    run.add_argument("--output_dir", default="", help="where checkpoints and logs go; none are written without it")
    run.add_argument("--resume", default="", metavar="FILE", help="go on from this checkpoint, or evaluate it")
    run.add_argument("--eval", action="store_true", help="only evaluate")
    run.add_argument("--eval_train", action="store_true", help="evaluate on the photographs for training as well")
    run.add_argument("--eval_every", default=1, type=int, help="epochs between two evaluations; 0 for none")
    return parser


def _add_backbone(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--backbone", default="resnet50", choices=BACKBONES)
    group.add_argument("--dilation", action="store_true", help="replace the last stride by dilation (DC5)")
    group.add_argument("--position_embedding", default="sine", choices=("sine", "learned"))
    group.add_argument("--lr_backbone", default=1e-5, type=float, help="0 freezes the whole backbone")
    group.add_argument(
        "--trainable_backbone_layers",
        default=3,
        type=int,
        choices=range(6),
        help="stages of the backbone that are trained, from the last; 5 trains its stem too",
    )


def _add_transformer(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--enc_layers", default=6, type=int)
    group.add_argument("--dec_layers", default=6, type=int)
    group.add_argument("--dim_feedforward", default=2048, type=int)
    group.add_argument("--hidden_dim", default=256, type=int)
    group.add_argument("--dropout", default=0.1, type=float)
    group.add_argument("--nheads", default=8, type=int)
    group.add_argument("--num_queries", default=100, type=int)
    group.add_argument("--pre_norm", action="store_true")
    group.add_argument("--masks", action="store_true", help="tell the pixels of each object too")
    group.add_argument(
        "--frozen_weights",
        default="",
        metavar="FILE",
        help="with --masks: train the mask head alone, on the detector of this checkpoint",
    )
    group.add_argument("--no_aux_loss", dest="aux_loss", action="store_false", help="last decoder layer's output only")


def _add_loss(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--set_cost_class", default=1, type=float, help="class probability in the matching cost")
    group.add_argument("--set_cost_bbox", default=5, type=float, help="L1 distance of boxes in the matching cost")
    group.add_argument("--set_cost_giou", default=2, type=float, help="generalized IoU in the matching cost")
    group.add_argument("--mask_loss_coef", default=1, type=float)
    group.add_argument("--dice_loss_coef", default=1, type=float)
    group.add_argument("--bbox_loss_coef", default=5, type=float)
    group.add_argument("--giou_loss_coef", default=2, type=float)
    group.add_argument("--eos_coef", default=0.1, type=float, help='weight of the class "no object"')


def _add_optimizer(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--lr", default=1e-4, type=float, help="of everything but the backbone, see --lr_backbone")
    group.add_argument("--weight_decay", default=1e-4, type=float)
    group.add_argument("--lr_drop", default=200, type=int, help="epochs after which learning rates fall to a tenth")
    group.add_argument("--clip_max_norm", default=0.1, type=float, help="largest norm of all gradients; 0 for any")


def check_model_options(args: argparse.Namespace) -> None:
    """Refuse options that no detector can be built from.

    Raises:
        InputError: the first such option, and what it should be.
    """
    if args.backbone not in BACKBONES:
        raise InputError(f"--backbone {args.backbone}: unknown; choose from {', '.join(BACKBONES)}")
    if args.dilation and args.backbone in BASIC_BACKBONES:
        raise InputError(f"--dilation: {args.backbone} has no dilated form; use resnet50 or resnet101")
    for name, least in (
        ("enc_layers", 0),
        ("dec_layers", 1),
        ("dim_feedforward", 1),
        ("hidden_dim", 2),
        ("nheads", 1),
        ("num_queries", 1),
    ):
        if getattr(args, name) < least:
            raise InputError(f"--{name} {getattr(args, name)}: must be at least {least}")
    if args.masks:
        check_mask_options(args)
    elif args.frozen_weights:
        raise InputError("--frozen_weights: is for the mask head alone; give --masks too")
    if args.hidden_dim % args.nheads:
        raise InputError(f"--hidden_dim {args.hidden_dim}: must be a multiple of --nheads {args.nheads}")
    if args.hidden_dim % 2:
        raise InputError(f"--hidden_dim {args.hidden_dim}: must be even, half for rows and half for columns")
    if args.hidden_dim % 4 and args.position_embedding == "sine":
        raise InputError(
            f"--hidden_dim {args.hidden_dim}: must be a multiple of 4, sines and cosines for rows and for columns"
        )


def check_mask_options(args: argparse.Namespace) -> None:
    """Refuse options that no mask head can be built from; its channels are normalised in eight groups.

    Raises:
        InputError: the first such option, and what it should be.
    """
    if args.hidden_dim % 128:
        raise InputError(f"--hidden_dim {args.hidden_dim}: must be a multiple of 128 with --masks")
    if args.nheads % 8:
        raise InputError(f"--nheads {args.nheads}: must be a multiple of 8 with --masks")


def num_classes(args: argparse.Namespace) -> int:
    """Number of classes that the model tells apart, "no object" not counted."""
    return NUM_CLASSES[args.dataset_file] if args.num_classes is None else int(args.num_classes)


def default_args(**changes: object) -> argparse.Namespace:
    """Return the default options of a detector with some changed by name; ``training_args`` has those of a run too.

    Raises:
        TypeError: a name is not an option.
    """
    return _changed(get_args_parser(), changes)


def training_args(**changes: object) -> argparse.Namespace:
    """Return the default options of a training program with some changed by name.

    Raises:
        TypeError: a name is not an option.
    """
    return _changed(get_training_parser(), changes)


def _changed(parser: argparse.ArgumentParser, changes: dict[str, object]) -> argparse.Namespace:
    args = parser.parse_args([])
    for name, value in changes.items():
        if not hasattr(args, name):
            raise TypeError(f"no such option: {name!r}; the options are {', '.join(sorted(vars(args)))}")
        setattr(args, name, value)
    return args
