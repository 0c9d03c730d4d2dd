"""Is the pre-trained model the paper's? Its zero-shot accuracies on prepared data against the paper's average."""

from __future__ import annotations

from dataclasses import dataclass

from tangent_lib.experiment import Experiment
from tangent_lib.modes import PAPER, PAPER_ZERO_SHOT

ALLOWED = 1.0  # points between our average and the paper's


@dataclass(frozen=True)
class ZeroShotTable:
    """Zero-shot accuracies on the test images in percent, their average, and the paper's where the two can be compared."""

    accuracies: dict[str, float]
    average: float
    paper: float | None

    @property
    def agrees(self) -> bool | None:
        """Do the averages agree to within a point? None where the paper has no number for this model and these tasks."""
        return None if self.paper is None else abs(self.average - self.paper) <= ALLOWED

    def __str__(self) -> str:
        rows = [*self.accuracies.items(), ("average", self.average)]
        lines = [f"{name:<12} {value:5.1f} %" for name, value in rows]
        if self.paper is None:
            return "\n".join([*lines, "The paper has no average for this model and these tasks."])
        verdict = "agrees" if self.agrees else f"differs by more than {ALLOWED} point"
        return "\n".join([*lines, f"{'the paper':<12} {self.paper:5.1f} %  ({verdict})"])


def check_zero_shot(run: Experiment) -> ZeroShotTable:
    """The zero-shot accuracies of a run against the average of the paper (tangent-space paper, Table 1).

    They are compared for the paper's eight tasks and models, with OpenAI's weights.

    Example:
        >>> from tangent_lib.experiments.materials import Materials
        >>> from tangent_lib.parameters import check_parameters
        >>> table = check_zero_shot(Experiment(Materials(check_parameters(tasks="Digits,Signs"))))
        >>> list(table.accuracies), table.agrees
        (['Digits', 'Signs'], None)
    """
    accuracies = {name: 100 * run.zero_shot(name).test for name in run.parameters.tasks}
    same = set(accuracies) == set(PAPER.tasks) and run.materials.clip.pretrained == "openai"
    paper = PAPER_ZERO_SHOT.get(run.parameters.model.removesuffix("-quickgelu")) if same else None
    return ZeroShotTable(accuracies, sum(accuracies.values()) / len(accuracies), paper)
