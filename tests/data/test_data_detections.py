"""Detections keep their category ids and become boxes of a corner and sides."""

import numpy as np

from detr_common.evaluate import detections_of


def test_category_ids_scores_and_boxes_go_through_unharmed() -> None:
    boxes = np.array([[1, 2, 11, 22], [0, 0, 5, 5]], np.float32)
    result = {"scores": np.array([0.5, 0.25]), "labels": np.array([90, 1]), "boxes": boxes}
    assert detections_of(7, result) == [
        {"image_id": 7, "category_id": 90, "bbox": [1.0, 2.0, 10.0, 20.0], "score": 0.5},
        {"image_id": 7, "category_id": 1, "bbox": [0.0, 0.0, 5.0, 5.0], "score": 0.25},
    ]
