"""The SLURM commands that Snakemake's plugin calls, for a cluster of one node without a GPU: ``sbatch`` runs the job at once.

A test puts this file into a folder under the names of the commands. ``jobs/`` beside them holds a file for each job, with its
state and how it was submitted. A job whose name contains what stands in ``jobs/out-of-memory`` ends so, once.
"""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

JOBS = Path(__file__).parent / "jobs"


def sbatch(arguments):
    number = next(number for number in itertools.count(1) if is_mine(number))
    note = lambda state: (JOBS / f"{number}.json").write_text(json.dumps({"state": state, "arguments": arguments}))
    note("RUNNING")
    note(run(arguments, str(number)))
    print(number)


def is_mine(number):
    try:
        (JOBS / str(number)).touch(exist_ok=False)
        return True
    except FileExistsError:
        return False


def run(arguments, number):
    if any(each.startswith("--gpus") for each in arguments):
        return "NODE_FAIL"
    starved = JOBS / "out-of-memory"
    if starved.exists() and starved.read_text() in arguments[arguments.index("--comment") + 1]:
        starved.unlink()
        return "OUT_OF_MEMORY"
    log, folder = (arguments[arguments.index(option) + 1] for option in ("--output", "-D"))
    (command,) = (each.removeprefix("--wrap=") for each in arguments if each.startswith("--wrap="))
    with open(log.replace("%j", number), "w") as file:
        node = {**os.environ, "SLURM_JOB_ID": number}
        ended = subprocess.run(command, shell=True, cwd=folder, env=node, stdout=file, stderr=subprocess.STDOUT)
    return "FAILED" if ended.returncode else "COMPLETED"


def sacct(arguments):
    if "--format=JobIdRaw,State" in arguments:
        for job in JOBS.glob("*.json"):
            print(f"{job.stem}|{json.loads(job.read_text())['state']}")


def srun(arguments):
    while arguments[0].startswith("-"):
        arguments = arguments[1:]
    os.execvp(arguments[0], arguments)


def sinfo(arguments):
    print("main*")


if __name__ == "__main__":
    {"sbatch": sbatch, "sacct": sacct, "srun": srun, "sinfo": sinfo}[Path(sys.argv[0]).name](sys.argv[1:])
