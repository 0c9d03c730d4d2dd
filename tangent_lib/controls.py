"""Controls that work in a static page without a kernel or a network: a slider over alpha. Imported by notebooks alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from IPython.display import HTML

TEMPLATE = Path(__file__).with_name("slider.html")


def alpha_slider(alphas: Sequence[float], accuracies: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> HTML:
    """A slider over alpha and a choice of mode, with a bar per task.

    Args:
        alphas: the values of the slider.
        accuracies: by mode, then by task, the accuracy at every alpha, as a share.
        title: what the bars are, in words.

    Example:
        >>> page = alpha_slider([0.0, 1.0], {"linear": {"Signs": [0.4, 0.8]}}, "validation accuracy")
        >>> "Signs" in page.data and 'type="range"' in page.data
        True
    """
    data = {
        "alphas": list(alphas),
        "title": title,
        "modes": {
            mode: {task: [round(100 * value, 1) for value in values] for task, values in tasks.items()}
            for mode, tasks in accuracies.items()
        },
    }
    text = json.dumps(data).replace("</", "<\\/")
    name = "slider-" + hashlib.sha256(text.encode()).hexdigest()[:8]
    return HTML(TEMPLATE.read_text().replace("@NAME@", name).replace("@DATA@", text))
