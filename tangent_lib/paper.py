"""The paper's own numbers, copied from its tables, to stand beside ours. Nothing here was computed by this project.

Source: Ortiz-Jimenez, Favero, Frossard, "Task Arithmetic in the Tangent Space", NeurIPS 2023. Accuracies in percent.
"""

from __future__ import annotations

SCALES = ("ViT-B/32", "ViT-B/16", "ViT-L/14")

# Table 1, task addition: (absolute, normalised) by mode and scale
TABLE_1 = {
    "pre-trained": ((48.4, None), (55.2, None), (64.4, None)),
    "non-linear": ((71.4, 76.5), (75.5, 80.0), (85.1, 88.8)),
    "post-hoc": ((57.1, 81.9), (65.0, 85.2), (75.2, 90.0)),
    "linear": ((76.5, 85.4), (81.3, 86.0), (88.5, 93.5)),
}

# Table 2, task negation: (target, control) by mode and scale
TABLE_2 = {
    "pre-trained": ((48.4, 63.4), (55.2, 68.3), (64.4, 75.5)),
    "non-linear": ((24.0, 60.7), (19.2, 64.6), (18.0, 72.5)),
    "post-hoc": ((14.8, 60.3), (10.8, 64.8), (12.1, 71.8)),
    "linear": ((10.9, 60.8), (11.3, 64.8), (7.9, 72.5)),
}
