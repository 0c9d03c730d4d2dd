"""The paper's own numbers, copied from its tables, to stand beside ours. Nothing here was computed by this project.

Source: Ortiz-Jimenez, Favero, Frossard, "Task Arithmetic in the Tangent Space", NeurIPS 2023, unless a table names another.
Accuracies in percent.
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

# Table 3, task addition from random initialisation: (single-task, multi-task) by mode and scale
TABLE_3 = {
    "random init": ((5.3, None), (4.8, None), (5.2, None)),
    "non-linear": ((48.5, 5.5), (40.6, 4.5), (18.0, 4.8)),
    "linear": ((27.8, 3.8), (24.7, 4.0), (24.8, 6.1)),
}

# The attention-only paper: Jin, Hou, Xiao, Su, Shen, "Fine-Tuning Attention Modules Only: Enhancing Weight Disentanglement in
# Task Arithmetic", 2024 (an earlier version of arXiv:2407.07089; later ones are titled "Fine-Tuning Linear Layers Only ...").

# its Table 2, task addition: (absolute, normalised) by mode and scale, in percent
ATTENTION_TABLE_2 = {
    "pre-trained": ((48.40, None), (55.25, None), (66.40, None)),
    "non-linear": ((70.00, 77.04), (74.75, 80.59), (84.40, 89.47)),
    "linear": ((76.26, 85.82), (79.01, 86.32), (85.53, 91.44)),
    "attention-only": ((78.37, 87.42), (80.44, 87.25), (87.91, 93.66)),
}

# its Table 4, efficiency, of Flan-T5-base (a language model): millions of numbers held, millions trained, "Computational
# Cost (MB)", training time in minutes and seconds
ATTENTION_TABLE_4 = {
    "non-linear": (222, 222, 891.614, "17:38"),
    "linear": (470, 222, 1881.926, "40:59"),
    "attention-only": (222, 63.7, 891.614, "10:15"),
}

# its Table 5, ablation: single-task accuracy, absolute and normalised accuracy of addition, in percent. The table names no
# model; its first row is the ViT-B/32 of Table 2
ATTENTION_TABLE_5 = {
    "attention-only": (89.55, 78.37, 87.42),
    "attention + biases": (89.48, 77.71, 86.79),
    "attention + MLP": (88.95, 76.52, 86.11),
    "attention + MLP + biases": (89.43, 77.80, 86.93),
}
