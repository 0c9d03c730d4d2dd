"""Labels and outputs from which no accuracy can be read."""

from __future__ import annotations

from pathlib import Path

import torch
from cases import Case

import tangent_lib as tl

KIND = "labels and outputs of evaluation"
EYE = torch.eye(3)


def accuracy(labels: list, scale: float = 1.0):
    data = torch.utils.data.TensorDataset(torch.eye(3)[: len(labels)], torch.tensor(labels))

    def run(folder: Path) -> float:
        return tl.evaluate(lambda params, x: scale * x @ params["w"], {"w": EYE}, EYE, data)

    return run


CASES = [
    Case(KIND, "class numbers", accuracy([0, 1, 2]), right=1.0),
    Case(KIND, "a label beyond the head's classes", accuracy([0, 1, 3]), refused="from 0 to 3, .* 0 to 2"),
    Case(KIND, "a label of -1", accuracy([0, 1, -1]), refused="from -1 to 1, .* 0 to 2"),
    Case(KIND, "labels as a column", accuracy([[0], [1], [2]]), refused=r"labels of torch.int64, shape \(3, 1\)"),
    Case(KIND, "outputs that are not numbers", accuracy([0, 1, 2], float("nan")), refused="the model gives NaN"),
    Case(KIND, "no points", accuracy([]), refused="the dataset is empty"),
]
