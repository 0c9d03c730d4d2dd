"""Run the gauntlet and print its table: ``python tests/gauntlet/run_gauntlet.py [FILE.json]``.

With a file, what came of every case is written there too, with its provenance, for the page Reliability.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from importlib import import_module
from pathlib import Path

from cases import REFUSED, RIGHT, WRONG, Case, Outcome, outcome

from tangent_lib.runtime.provenance import provenance

FOLDER = Path(__file__).parent


def all_cases() -> list[Case]:
    """The cases of every module here, quick and slow."""
    modules = [import_module(path.stem) for path in sorted(FOLDER.glob("cases_*.py"))]
    return [case for module in modules for case in module.CASES]


def run(case: Case) -> Outcome:
    """A case in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return outcome(case, Path(folder))


def main(to: str | None = None) -> int:
    """Run all cases; the exit status is 1 where one is wrong."""
    origin, start, found = provenance(), time.perf_counter(), []
    for case in all_cases():
        found.append(run(case))
        if found[-1].verdict == WRONG:
            print(f"WRONG  {case.kind}: {case.name}: {found[-1].said}", flush=True)
    by_kind: dict[str, Counter] = defaultdict(Counter)
    for each in found:
        by_kind[each.case.kind][each.verdict] += 1
    verdicts = (RIGHT, REFUSED, WRONG)
    width = max(map(len, by_kind))
    print(f"{'':<{width}}  cases  " + "  ".join(verdicts))
    for kind, counts in by_kind.items():
        print(f"{kind:<{width}}  {counts.total():>5}  " + "  ".join(f"{counts[each]:>{len(each)}}" for each in verdicts))
    total, seconds = Counter(each.verdict for each in found), time.perf_counter() - start
    if to:
        names = [{"kind": e.case.kind, "case": e.case.name, "verdict": e.verdict, "said": e.said} for e in found]
        values = {"provenance": origin, "seconds": round(seconds, 1), "cases": names}
        Path(to).write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(found)} cases: {total[RIGHT]} right, {total[REFUSED]} refused, {total[WRONG]} wrong, {seconds:.0f} s")
    return 1 if total[WRONG] else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
