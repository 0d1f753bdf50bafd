"""DETR: a backbone, a transformer and two heads on every object query (Carion et al. 2020, section 3)."""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import jittor as jt
from jittor import Var, nn

from detr_common.errors import InputError
from detr_common.options import NUM_CLASSES, num_classes
from detr_jt.backbone import Joiner, build_backbone
from detr_jt.criterion import SetCriterion, build_criterion
from detr_jt.layers import MLP, Conv2d, ExactLinear
from detr_jt.nested_tensor import NestedTensor, as_nested_tensor
from detr_jt.postprocess import PostProcess, PostProcessPanoptic, PostProcessSegm
from detr_jt.segmentation import DETRsegm
from detr_jt.transformer import Transformer, build_transformer


class Encoded(NamedTuple):
    """What a batch becomes before the heads.

    Attributes:
        features: maps of the backbone, the coarsest last.
        src: the last, projected, [B, E, H, W].
        hs: decoder outputs, [layers, B, Q, E].
        memory: encoder output, [B, E, H, W].
    """

    features: list[NestedTensor]
    src: Var
    hs: Var
    memory: Var


class DETR(nn.Module):
    """The detector.

    Args:
        backbone: maps a batch to a feature map and its position encodings.
        transformer: see ``Transformer``.
        num_classes: classes without "no object".
        num_queries: Q, the most objects found in one image.
        aux_loss: also return the predictions of the decoder layers before the last.
    """

    def __init__(
        self, backbone: Joiner, transformer: Transformer, num_classes: int, num_queries: int, aux_loss: bool = False
    ) -> None:
        super().__init__()
        hidden_dim = transformer.decoder.norm.weight.shape[0]
        self.transformer = transformer
        self.class_embed = ExactLinear(hidden_dim, num_classes + 1)
        self.bbox_embed = MLP(hidden_dim, hidden_dim, 4, 3)
        self.query_embed = nn.Embedding(num_queries, hidden_dim)
        self.input_proj = Conv2d(backbone.num_channels[-1], hidden_dim, kernel_size=1)
        self.backbone = backbone
        self.aux_loss = aux_loss

    def execute(self, samples: NestedTensor | Var | Sequence[Var]) -> dict[str, Var | list[dict[str, Var]]]:
        """Detect objects.

        Args:
            samples: a list of [3, H, W] images, a [B, 3, H, W] tensor, or a padded batch.

        Returns:
            ``pred_logits`` [B, Q, num_classes + 1]; ``pred_boxes`` [B, Q, 4] as (cx, cy, w, h), fractions of the
            unpadded image; with ``aux_loss`` ``aux_outputs``, the same two for each earlier decoder layer.
        """
        return self.predict(self.encode(as_nested_tensor(samples)).hs)

    def encode(self, samples: NestedTensor) -> Encoded:
        """Run backbone and transformer on a padded batch."""
        dtype = str(self.query_embed.weight.dtype)
        features, pos = self.backbone(NestedTensor(samples.tensors.cast(dtype), samples.mask))
        src, mask = features[-1].decompose()
        src = self.input_proj(src)
        hs, memory = self.transformer(src, mask, self.query_embed.weight, pos)
        return Encoded(features, src, hs, memory)

    def predict(self, hs: Var) -> dict[str, Var | list[dict[str, Var]]]:
        """Turn decoder outputs [layers, B, Q, E] into what the detector returns."""
        logits = self.class_embed(hs)
        boxes = self.bbox_embed(hs).sigmoid()
        out = {"pred_logits": logits[-1], "pred_boxes": boxes[-1]}
        if self.aux_loss:
            earlier = range(logits.shape[0] - 1)
            out["aux_outputs"] = [{"pred_logits": logits[i], "pred_boxes": boxes[i]} for i in earlier]
        return out


def build_model(args: argparse.Namespace) -> tuple[DETR | DETRsegm, SetCriterion, dict[str, nn.Module]]:
    """Build what ``args`` (``detr_common.options``) describes, on ``args.device`` and in ``args.dtype``.

    Returns:
        The model; the criterion, in the same dtype; the postprocessors by kind of result.

    Raises:
        InputError: ``args.device`` is "cuda" and the framework can use no GPU, or is asked for float64 there.
        ValueError: options that do not go together.
    """
    if args.device == "cuda" and not jt.get_device_count():
        raise InputError("--device cuda: Jittor can use no GPU here; python -m parity doctor may tell why")
    if args.device == "cuda" and args.dtype == "float64":
        # PyTorch can. Jittor's first convolution would end the process.
        raise InputError("--dtype float64: Jittor convolves none on a GPU; give --device cpu")
    jt.flags.use_cuda = int(args.device == "cuda")
    model = DETR(
        build_backbone(args),
        build_transformer(args),
        num_classes=num_classes(args),
        num_queries=args.num_queries,
        aux_loss=args.aux_loss,
    )
    if args.masks:
        model = DETRsegm(model, freeze_detr=bool(args.frozen_weights))
    if args.dtype == "float64":
        to_float64(model)
    return model, build_criterion(args), build_postprocessors(args)


def build_postprocessors(args: argparse.Namespace) -> dict[str, nn.Module]:
    """Return what makes detections of predictions: ``bbox``, with masks ``segm``, for panoptic data ``panoptic``.

    Until a data set says otherwise, categories above those of COCO's objects are stuff.
    """
    postprocessors: dict[str, nn.Module] = {"bbox": PostProcess()}
    if args.masks:
        postprocessors["segm"] = PostProcessSegm()
        if args.dataset_file == "coco_panoptic":
            last = NUM_CLASSES["coco"] - 1
            postprocessors["panoptic"] = PostProcessPanoptic({i: i <= last for i in range(num_classes(args))})
    return postprocessors


def to_float64(model: nn.Module) -> None:
    """Make every parameter and buffer float64; those that take no gradient go on taking none."""
    for value in model.state_dict().values():
        frozen = value.is_stop_grad()
        value.assign(value.float64())
        if frozen:
            value.stop_grad()
