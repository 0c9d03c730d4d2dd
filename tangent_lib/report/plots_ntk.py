"""Figures of the kernel's eigenfunctions. Imported by notebooks alone; every figure only draws numbers that it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from tangent_lib.experiment import LocalEnergy
from tangent_lib.report.plots import COLOURS

_GREY = COLOURS["zero-shot"]
# no colours of modes here: tasks, and initialisations, differ by line style too
FIRST, SECOND = ("#5D3A9B", "-"), ("#D0730F", "--")


def energy_lines(results: Mapping[str, LocalEnergy]) -> Figure:
    """E_loc over the points of both supports, a panel a pair, a line a class (tangent-space paper, Figures 6, 14 and 15)."""
    figure, axes = plt.subplots(1, len(results), figsize=(8.5, 2.7), squeeze=False, sharey=True)
    for axis, (pair, result) in zip(axes[0], results.items()):
        energy, trained = np.asarray(result.energy), result.trained
        shades = plt.get_cmap("viridis")(np.linspace(0.0, 0.85, len(energy)))
        for line, shade in zip(energy, shades):
            axis.plot(line, color=shade, linewidth=0.5, alpha=0.8)
        task, control = pair.split("-")[0], pair.split("-")[-1]
        axis.axvline(trained - 0.5, color=_GREY, linestyle=":", linewidth=1)
        places = [trained / 2, (trained + energy.shape[1]) / 2]
        axis.set_xticks(places, [f"{task}\n(trained)", f"{control}\n(control)"])
        axis.tick_params(axis="x", length=0)
        axis.grid(False, axis="x")
        for start, stop in ((0, trained), (trained, energy.shape[1])):
            mean = energy[:, start:stop].mean()
            axis.plot([start, stop - 1], [mean, mean], color="white", linewidth=4.0)
            axis.plot([start, stop - 1], [mean, mean], color="black", linewidth=1.8)
        axis.set(ylim=(0, 1.02))
    axes[0][0].set_ylabel(r"local energy $\mathcal{E}_\mathrm{loc}(x)$")
    return figure


def leading_shares(counts: Sequence[int], panels: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """The share of the leading eigenfunctions' energy on unseen points of the task, a panel a pair, a line a model."""
    figure, axes = plt.subplots(1, len(panels), figsize=(8.5, 2.6), squeeze=False, sharey=True)
    for axis, (pair, series) in zip(axes[0], panels.items()):
        axis.axhline(0.5, color=_GREY, linestyle=":", linewidth=1)
        for (label, shares), (colour, style), marker in zip(series.items(), (FIRST, SECOND), "os"):
            axis.semilogx(counts, shares, style, color=colour, marker=marker, markersize=3.5, label=label)
        axis.set(title=pair, xlabel="leading eigenfunctions", ylim=(0, 1))
        axis.title.set_fontsize(9)
    axes[0][0].set_ylabel("share of energy on unseen\npoints of the task")
    axes[0][0].legend(loc="lower left")
    return figure


def ring_fits(
    angles: Sequence[float], supports: np.ndarray, fits: Mapping[str, np.ndarray], bounds: Mapping[str, Sequence[float]]
) -> Figure:
    """Task functions around the ring, a panel a kernel, and how little energy it can have where it should have none.

    ``supports`` and fits are ``(2, n)`` over n angles, a row a task; ``bounds`` has a share for M = 0, 1, 2, ...
    """
    figure, axes = plt.subplots(1, len(fits) + 1, figsize=(8.5, 2.7))
    for axis, (name, functions) in zip(axes, fits.items()):
        for t, (colour, style) in enumerate((FIRST, SECOND)):
            inside = np.flatnonzero(supports[t])
            axis.axvspan(angles[inside[0]], angles[inside[-1]], color=colour, alpha=0.13, linewidth=0)
            axis.plot(angles, functions[t], style, color=colour, label=f"$f_{t + 1}$, trained on $D_{t + 1}$")
        axis.set(title=f"{name} kernel", xlabel="angle", ylim=(-1.7, 1.2))
        axis.set_xticks([0, np.pi, 2 * np.pi], ["0", r"$\pi$", r"$2\pi$"])
        axis.title.set_fontsize(9)
    axes[0].legend(fontsize=7, loc="lower left", ncols=2, handlelength=1.5, columnspacing=0.8)
    for (place, shares), (colour, style), marker in zip(bounds.items(), (FIRST, SECOND), "os"):
        axes[-1].semilogy(range(len(shares)), shares, style, color=colour, marker=marker, markersize=3.5, label=place)
    axes[-1].set(title="smallest share of energy", xlabel="highest Fourier mode $M$")
    axes[-1].title.set_fontsize(9)
    axes[-1].legend(fontsize=7)
    return figure
