"""Tables of the page on running at scale: operations, memory, hours, disk, and results of every scale side by side.

Operations and bytes are counted (``tangent_lib.cost.counted_steps``); hours follow from them by a share of the GPU's
peak that the reader assumes. Imported by notebooks alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd

from tangent_lib.cost.both_papers import PAPERS, Counts, kind_of, work
from tangent_lib.cost.counted_steps import NUMBER, largest_micro_batch
from tangent_lib.cost.measured_steps import WAYS
from tangent_lib.data.manifests import load_manifest
from tangent_lib.experiments.records import RECORDED, Record, is_of_shipped_weights, read_record
from tangent_lib.modes import ATTENTION_MODES, MINIATURES, PAPER, TRAININGS, Precision, Protocol
from tangent_lib.report import paper
from tangent_lib.report.quantities import ABSOLUTE, NONE, NORMALISED, SINGLE, over_seeds
from tangent_lib.runtime.errors import InputError

MODELS = ("ViT-B-32", "ViT-B-16", "ViT-L-14")  # of both papers
MEMORIES = (16, 24, 40, 80, 141)  # GB that GPUs have
NOT_STATED = "not stated"
Shares = Mapping[str, float]  # of a GPU's peak, assumed, by precision
# which section of a recorded file tells where a mode's results come from
SECTION = {"non-linear": "non-linear", "post-hoc": "non-linear", "linear": "linear"}
SECTION |= dict.fromkeys(ATTENTION_MODES, "attention")
MEASURES = {"single-task": SINGLE, "addition, absolute": ABSOLUTE, "addition, normalised": NORMALISED}


@dataclass(frozen=True)
class Gpu:
    """A GPU as its data sheet describes it: memory in GB, dense peaks in 10^12 operations a second.

    ``fp32`` is plain single precision, without tensor cores, as PyTorch computes it unless told otherwise; ``bf16`` is that
    of tensor cores, None where there is none.
    """

    memory: int
    fp32: float
    bf16: float | None


GPUS = {
    "V100": Gpu(32, 15.7, None),
    "RTX 3090": Gpu(24, 35.6, 71.0),
    "A100": Gpu(80, 19.5, 312.0),
    "H100": Gpu(80, 67.0, 989.0),
    "H200": Gpu(141, 67.0, 989.0),
}


def step_table(counts: Mapping[str, Counts], batch_size: int) -> pd.DataFrame:
    """A row a model and way to fine-tune: numbers held and trained, operations and kept bytes of a step, counted."""
    rows = {}
    for model, by_kind in counts.items():
        plain = by_kind[kind_of("non-linear")]
        for way in WAYS:
            count = by_kind[kind_of(way)]
            kept = count.saved_bytes(batch_size)
            rows[(model, way)] = {
                "millions held": f"{count.parameters / 1e6:.1f}",
                "millions trained": f"{count.trainable / 1e6:.1f}",
                "TFLOP a step": f"{batch_size * count.operations / 1e12:.2f}",
                "over non-linear": f"{count.operations / plain.operations:.2f}",
                "GB kept": f"{kept / 1e9:.1f}",
                "over non-linear, bytes": f"{kept / plain.saved_bytes(batch_size):.2f}",
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def memory_table(
    counts: Mapping[str, Mapping[str, Counts]], batch_size: int, memories: Sequence[int] = MEMORIES
) -> pd.DataFrame:
    """What is held, what an image adds, and how many images at a time fit a GPU; counts by model, precision and kind."""
    rows = {}
    for model, by_precision in counts.items():
        for way in WAYS:
            cells = {}
            for precision, by_kind in by_precision.items():
                count = by_kind[kind_of(way)]
                fits = {memory: largest_micro_batch(count, memory, batch_size) for memory in memories}
                cells[("", "GB held")] = f"{count.held_bytes / 1e9:.1f}"
                cells[(precision, "MB an image")] = f"{count.image_bytes / 1e6:.0f}"
                cells |= {(precision, f"{memory} GB"): str(images or "none") for memory, images in fits.items()}
            rows[(model, way)] = cells
    return pd.DataFrame.from_dict(rows, orient="index")


def hours(operations: int, teraflops: float | int, share: float | int) -> float:
    """GPU-hours of so many operations at a share of the peak."""
    if not 0 < share <= 1:
        raise InputError(f"share {share}: a part of the GPU's peak, above 0 and at most 1")
    return operations / (teraflops * 1e12 * share) / 3600


def part_table(counts: Mapping[str, Counts], protocol: Protocol, gpu: Gpu, share: float) -> pd.DataFrame:
    """GPU-hours of both papers by part of the work and model, for one seed, in fp32."""
    columns = {
        model: {part: hours(each, gpu.fp32, share) for part, each in work(by_kind, PAPERS, protocol).items()}
        for model, by_kind in counts.items()
    }
    table = pd.DataFrame(columns)
    table["all models"] = table.sum(axis=1)
    table.loc["in all"] = table.sum()
    return table.map(lambda value: f"{value:.1f}")


def paper_hours(
    counts: Mapping[str, Counts],
    papers: Sequence[str],
    protocol: Protocol,
    gpu: Gpu,
    precision: Precision,
    shares: Shares,
) -> float:
    """GPU-hours of some papers, all models and one seed; evaluation is in fp32, whatever fine-tuning is in."""
    if precision == "bf16" and gpu.bf16 is None:
        raise InputError("this GPU has no bf16: take fp32, or another GPU")
    tuned = (gpu.bf16, shares["bf16"]) if precision == "bf16" else (gpu.fp32, shares["fp32"])
    return sum(
        hours(operations, *(tuned if part.startswith("fine-tuning") else (gpu.fp32, shares["fp32"])))
        for by_kind in counts.values()
        for part, operations in work(by_kind, papers, protocol).items()
    )


def gpu_table(
    counts: Mapping[str, Counts], protocol: Protocol, shares: Shares, price: float | int, seeds: int = 5, gpus: int = 4
) -> pd.DataFrame:
    """A row a GPU and precision: hours of each paper, beside its own figure where it used that GPU, time and price."""
    longest = max(count.operations for by_kind in counts.values() for count in by_kind.values())
    rows = {}
    for (name, gpu), precision in product(GPUS.items(), shares):
        peak = getattr(gpu, precision)
        if peak is None:
            continue
        of = {each: paper_hours(counts, [each], protocol, gpu, precision, shares) for each in PAPERS}
        both = paper_hours(counts, list(PAPERS), protocol, gpu, precision, shares)
        job = hours(longest * protocol.steps * protocol.batch_size, peak, shares[precision])
        stated = {each: f" (it says < {PAPERS[each].printed[0]})" for each in PAPERS if PAPERS[each].printed[1] == name}
        rows[(name, precision)] = {
            "peak, TFLOPS": f"{peak:g}",
            **{f"hours, {each}": f"{of[each]:.0f}{stated.get(each, '') * (precision == 'fp32')}" for each in PAPERS},
            "hours, both": f"{both:.0f}",
            f"hours, {seeds} seeds": f"{seeds * both:.0f}",
            f"days on {gpus}": f"{seeds * both / gpus / 24:.1f}",
            f"price, {seeds} seeds": f"{seeds * both * price:.0f}",
            "longest fine-tuning, hours": f"{job:.1f}",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def implied_share(counts: Mapping[str, Counts], name: str, protocol: Protocol) -> float:
    """The share of its GPU's fp32 peak at which a paper would take the hours that it names."""
    printed, gpu = PAPERS[name].printed
    return paper_hours(counts, [name], protocol, GPUS[gpu], "fp32", {"fp32": 1.0}) / printed


def disk_table(counts: Mapping[str, Counts], data_root: str | Path | None = None) -> pd.DataFrame:
    """Disk for data sets, by their manifests, and for the fine-tuned weights of every training, for one seed."""
    rows, known = {}, []
    for name in (*PAPER.tasks, PAPER.control):
        manifest = load_manifest(name, data_root)
        size, sizes = manifest.gigabytes, manifest.sizes
        known += [size] if size else []
        rows[name] = {
            "images": f"{sizes.train + sizes.test:,}" if sizes else NOT_STATED,
            "GB, download": f"{size.download:g}" if size else NOT_STATED,
            "GB, prepared": f"{size.prepared:g}" if size else NOT_STATED,
        }
    totals = {"download": sum(size.download for size in known), "prepared": sum(size.prepared for size in known)}
    label = "all data sets" if len(known) == len(rows) else f"{len(known)} data sets that state it"
    rows[label] = {"images": NONE, **{f"GB, {what}": f"{total:.0f}" for what, total in totals.items()}}
    for model, by_kind in counts.items():
        trained = sum(by_kind[kind_of(training)].trainable for training in TRAININGS)
        stored = NUMBER * trained * len(PAPER.tasks) / 1e9
        rows[f"store, {model}, a seed"] = {"images": NONE, "GB, download": NONE, "GB, prepared": f"{stored:.0f}"}
    return pd.DataFrame.from_dict(rows, orient="index")


def read_all() -> dict[str, Record]:
    """All recorded files with results, by model, the miniatures first; not those of a miniature's earlier weights."""
    found = {path.stem: read_record(path.stem) for path in sorted(RECORDED.glob("*.json"))}
    current = lambda model, record: scale_of(model) == "CLIP" or is_of_shipped_weights(record)
    found = {model: record for model, record in found.items() if record.summaries and current(model, record)}
    return dict(sorted(found.items(), key=lambda item: scale_of(item[0]) != "miniature"))


def scale_of(model: str) -> str:
    """What a table calls the scale of a model."""
    return "miniature" if model in MINIATURES else "CLIP"


def results_table(records: Mapping[str, Record]) -> pd.DataFrame:
    """Every recorded result and every printed one: accuracies in percent, what they were made with, where they come from."""
    rows = {}
    for model, record in records.items():
        protocol = record.configuration["protocol"]
        for mode in (mode for mode in SECTION if mode in record.summaries):
            origin = record.provenance.get(SECTION[mode], {})
            rows[(scale_of(model), model, mode)] = {
                **{name: over_seeds(record.summaries, mode, measure) for name, measure in MEASURES.items()},
                "seeds": str(len(record.summaries[mode])),
                "steps": f"{protocol['steps']} of {protocol['batch_size']}, {protocol['precision']}",
                "commit": origin.get("commit", NONE),
                "machine": origin.get("machine", NONE),
                "date": origin.get("date", NONE)[:10],
            }
    for title, numbers in {"1": paper.TABLE_1, "2": paper.ATTENTION_TABLE_2}.items():
        for i, scale in enumerate(paper.SCALES):
            for mode in (mode for mode in SECTION if mode in numbers):
                absolute, normalised = numbers[mode][i]
                printed = {"addition, absolute": f"{absolute:.1f}", "addition, normalised": f"{normalised:.1f}"}
                rows[(f"CLIP, paper {title}", scale, mode)] = printed
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[*MEASURES, "seeds", "steps", "commit", "machine", "date"])
    return table.rename_axis(["scale", "model", "mode"]).fillna(NONE)
