"""The processor cores that this process may use. The Makefile runs this file before anything is installed."""

from __future__ import annotations

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """How many cores this process may use: those that ``taskset`` leaves, and no more than a container's quota allows.

    Example:
        >>> 1 <= usable_cores() <= os.cpu_count()
        True
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([there, *_quotas()])))


def _quotas() -> list[float]:
    """In cores, of this process's control group and of those around it, in both versions of the kernel's interface."""
    found: list[float] = []
    for line in MEMBERSHIP.read_text().splitlines() if MEMBERSHIP.is_file() else ():
        _, controllers, own = line.split(":", 2)
        root = CGROUPS / "cpu" if controllers else CGROUPS  # version 1 has a tree for each controller, version 2 one
        if not controllers or "cpu" in controllers.split(","):
            group = Path(own.lstrip("/"))  # within a container it may be named as outside, and only the root be there
            for each in (group, *group.parents):
                found += _quota(root / each)
    return found


def _quota(folder: Path) -> list[float]:
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return [int(quota) / int(period)] if int(quota) > 0 else []
    except (OSError, ValueError):  # no such group, or "max"
        return []


if __name__ == "__main__":
    print(usable_cores())
