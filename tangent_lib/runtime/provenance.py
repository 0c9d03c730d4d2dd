"""Where a result comes from: commit, machine, versions, date. Every result file carries it."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from tangent_lib.runtime.disk import ROOT


@cache
def commit() -> str:
    """The commit of this checkout, with ``+changes`` where tracked files differ from it; ``unknown`` outside git.

    A repository around this one is not it, nor is that of ``GIT_DIR``, which a hook of another repository sets.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*args: str) -> str:
        command = ["git", "-C", str(ROOT), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()

    try:
        if not ROOT.samefile(git("rev-parse", "--show-toplevel")):
            return "unknown"
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, ValueError, subprocess.CalledProcessError):
        return "unknown"


def provenance() -> dict[str, str]:
    """Commit, date, processor and package versions, as text.

    Example:
        >>> sorted(provenance())
        ['commit', 'date', 'machine', 'python', 'torch', 'versions']
    """
    packages = ("open_clip_torch", "numpy", "safetensors")
    return {
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{_accelerator()}{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}",
        "versions": ", ".join(f"{name} {version(name)}" for name in packages),
    }


def _accelerator() -> str:
    return f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"
