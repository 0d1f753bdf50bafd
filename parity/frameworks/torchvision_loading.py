"""How upstream loads photographs, with torchvision's transforms and PyTorch's DataLoader: the yardstick for ours."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import functional as F

from detr_common.coco import CocoDetection
from detr_common.images import MEAN, STD
from detr_common.transforms import CROP_SCALES, CROP_SIDES, LONGEST, SCALES


class Upstream(Dataset):  # type: ignore[misc]
    """The photographs of a data set, augmented as for training with draws of Python's own generator.

    Args:
        dataset: whose annotations and sizes are taken.
    """

    def __init__(self, dataset: CocoDetection) -> None:
        self.folder, self.annotations, self.scale = dataset.folder, dataset.annotations, dataset.scale

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self.annotations.images)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Read and augment a photograph."""
        entry = self.annotations.images[index]
        image = Image.open(self.folder / entry["file_name"]).convert("RGB")
        objects = [one for one in self.annotations.of_image(entry["id"]) if not one.get("iscrowd", 0)]
        boxes = torch.as_tensor([one["bbox"] for one in objects], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        target = {
            "boxes": boxes,
            "labels": torch.tensor([one["category_id"] for one in objects]),
            "area": torch.tensor([float(one["area"]) for one in objects]),
        }
        if random.random() < 0.5:
            image, target["boxes"] = (
                F.hflip(image),
                boxes[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1])
                + (torch.tensor([image.width, 0, image.width, 0])),
            )
        if random.random() < 0.5:
            image, target = self._resize(image, target, self._scaled(random.choice(CROP_SCALES)), None)
            least, most = map(self._scaled, CROP_SIDES)
            width = random.randint(min(image.width, least), min(image.width, most))
            height = random.randint(min(image.height, least), min(image.height, most))
            top, left = random.randint(0, image.height - height), random.randint(0, image.width - width)
            image = F.crop(image, top, left, height, width)
            moved = target["boxes"] - torch.tensor([left, top, left, top])
            target["boxes"] = torch.min(moved, torch.tensor([width, height, width, height])).clamp(min=0)
            kept = (target["boxes"][:, 2:] > target["boxes"][:, :2]).all(1)
            target = {name: value[kept] for name, value in target.items()}
        image, target = self._resize(image, target, self._scaled(random.choice(SCALES)), self._scaled(LONGEST))
        tensor = F.normalize(F.to_tensor(image), MEAN.tolist(), STD.tolist())
        x0, y0, x1, y1 = target["boxes"].unbind(1)
        centres = torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], 1)
        target["boxes"] = centres / torch.tensor([image.width, image.height, image.width, image.height])
        return tensor, target

    def _scaled(self, pixels: int) -> int:
        return max(1, round(pixels * self.scale))

    def _resize(self, image: Any, target: dict[str, Tensor], size: int, longest: int | None) -> tuple[Any, Any]:
        shorter, longer = sorted(image.size)
        if longest is not None and longer / shorter * size > longest:
            size = round(longest * shorter / longer)
        resized = F.resize(image, size)
        columns, rows = (after / before for after, before in zip(resized.size, image.size, strict=True))
        ratio = torch.tensor([columns, rows, columns, rows])
        return resized, {**target, "boxes": target["boxes"] * ratio, "area": target["area"] * (columns * rows)}


def batches(dataset: CocoDetection, batch_size: int, workers: int) -> Iterator[int]:
    """Yield the number of photographs of each batch, as it comes."""
    loader = DataLoader(
        Upstream(dataset), batch_size, shuffle=True, drop_last=True, num_workers=workers, collate_fn=list
    )
    for batch in loader:
        yield len(batch)
