"""The page of the claims ledger: its table, its paragraphs and its data. Imported by notebooks alone.

Nothing here decides: verdicts come from ``tangent_lib.report.ledger``. The text is HTML, so that it can be made from results.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress

import numpy as np
import pandas as pd
from IPython.display import HTML

from tangent_lib.experiment import Experiment
from tangent_lib.experiments.records import Record, read_recorded
from tangent_lib.report import ledger
from tangent_lib.report.claim_measures import Part
from tangent_lib.report.claims import CLAIMS, TITLES
from tangent_lib.report.controls import sortable
from tangent_lib.report.quantities import NotRecorded, with_unit

MARKS = dict(zip(ledger.VERDICTS, "✓◐✗–"))  # beside the words, never instead of them
BREAK = " | "  # between the parts of a claim, in one cell of the table


def count_table(entries: Sequence[ledger.Judgement]) -> pd.DataFrame:
    """How many claims of each paper have each verdict."""
    of = lambda paper: ledger.counts(entry for entry in entries if entry.claim.paper == paper)
    rows = {**{title: of(paper) for paper, title in TITLES.items()}, "both": ledger.counts(entries)}
    return pd.DataFrame.from_dict(rows, orient="index")


def table(entries: Iterable[ledger.Judgement], model: str) -> pd.DataFrame:
    """A row a claim: the paper's figure beside ours, the test and the verdict."""
    each = lambda entry, text: BREAK.join(text(weighed) for weighed in entry.weighed) or "–"
    once = lambda text: text.split(BREAK)[0] if len(set(text.split(BREAK))) == 1 else text
    rows = {
        entry.claim.name: {
            "what the paper claims": entry.claim.statement,
            "verdict": entry.verdict,
            "the paper's figure (CLIP)": entry.claim.printed,
            f"ours ({model})": each(entry, ledger.outcome),
            "over": once(each(entry, ledger.sample_size)),
            "p": each(entry, ledger.significance),
            "page": entry.claim.page[:2] or "–",
        }
        for entry in entries
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("claim")


def claims_of(page: str, run: Experiment, **here: dict) -> HTML:
    """The claims that a page measures: judged from recorded seeds by the ledger's rule, beside the numbers of this run.

    A verdict needs five recorded seeds of these very parameters; one run has none. ``here`` is what this run has, as
    sections of a record: ``summaries``, ``untrained``, ``ntk``, ``cost`` and so on.
    """
    rows = {}
    for entry, numbers in _page(page, run, here):
        for weighed, values in zip(entry.weighed, numbers):
            rows[(entry.claim.name, weighed.part.label)] = {
                "this run": with_unit(values, weighed.part.unit),
                "recorded": ledger.outcome(weighed),
                "over": ledger.sample_size(weighed),
                "p": ledger.significance(weighed),
                "holds": weighed.verdict,
                "claim": f"{MARKS[entry.verdict]} {entry.verdict}",
            }
    table = pd.DataFrame.from_dict(rows, orient="index").reset_index(names=["claim of the paper", "positive where it holds"])
    text = sortable(table.set_index("claim of the paper"), save_as=f"claims-{page}").data
    for name in dict.fromkeys(name for name, _ in rows):
        text = text.replace(f"<th>{name}</th>", f'<th><a href="09_claims.html#{name}">{name}</a></th>')
    return HTML(f'<div style="font-size: 0.9em">\n{text}\n</div>')


def reproduced_here(page: str, run: Experiment, **here: dict) -> dict[str, bool]:
    """Has this run the sign of each untimed part that recorded seeds reproduce and it has? ``here``: see ``claims_of``."""
    return {
        f"{entry.claim.name}: {weighed.part.label}": bool(np.mean(values) > 0)
        for entry, numbers in _page(page, run, here)
        for weighed, values in zip(entry.weighed, numbers)
        if weighed.verdict == ledger.REPRODUCED and weighed.part.over != "rounds" and values
    }


def _page(page: str, run: Experiment, here: dict) -> list[tuple[ledger.Judgement, list[list[float]]]]:
    """A page's claims, judged from recorded seeds, each with the numbers of this run by part."""
    recorded, model = read_recorded(run), run.parameters.model
    records = {**ledger.read_records(model), model: recorded} if recorded else {}
    live = Record(configuration={}, provenance={}, zero_shot={}, **here)
    judged = ledger.ledger(records, model, [claim for claim in CLAIMS if claim.page == page])
    return [(entry, [_here(part, live) for part in entry.claim.parts]) for entry in judged]


def _here(part: Part, live: Record) -> list[float]:
    """A part's numbers in this run, one a seed or a timed round; none where the run lacks what it needs."""
    if part.models:  # a comparison between models
        return []
    found = []
    for _, sample in ledger.samples(part, [live]):
        with suppress(NotRecorded):
            found.append(float(part.measure(live, sample)))
    return found


def show_table(entries: Sequence[ledger.Judgement], model: str, save_as: str = "") -> HTML:
    """The table, sortable; a claim's name leads to its paragraph, its page to the figure or table that measures it."""
    text = sortable(table(entries, model), save_as=save_as).data
    for claim in (entry.claim for entry in entries):
        row = re.compile(f"<th>{re.escape(claim.name)}</th>(.*?<td>){claim.page[:2] or '–'}</td></tr>", re.DOTALL)
        link = _link(claim.page, claim.anchor, claim.page[:2]) or "–"
        name = f'<th><a href="#{claim.name}">{claim.name}</a></th>'
        cells = lambda match, a=name, b=link: f"{a}{match.group(1).replace(BREAK, '<br>')}{b}</td></tr>"
        text, found = row.subn(cells, text, count=1)
        if not found:
            raise ValueError(f"no row of {claim.name} in the table")
    return HTML(f'<div style="font-size: 0.85em">\n{text}\n</div>')


def paragraphs(entries: Iterable[ledger.Judgement]) -> HTML:
    """Each claim in its place: the paper's words, both figures, the test; where it does not reproduce, why it may not.

    A claim is folded when it reproduces and open otherwise.
    """
    text = "\n".join(_paragraph(entry) for entry in entries)
    return HTML(f'<div class="tangent-control" style="max-width: none; border: 0; padding: 0">\n{text}\n</div>')


def _paragraph(entry: ledger.Judgement) -> str:
    claim, say = entry.claim, lambda text: html.escape(text, quote=False)
    opened = "" if entry.verdict == ledger.REPRODUCED else " open"
    lines = [
        f'<details id="{claim.name}"{opened}>',
        f"<summary><strong>{claim.name}</strong>: {say(claim.statement)} "
        f"<strong>{MARKS[entry.verdict]} {entry.verdict}</strong></summary>",
        f"<blockquote><p>{say(claim.quote)}</p><p>({say(TITLES[claim.paper])}: {say(claim.where)})</p></blockquote>",
        f"<p>The paper's figure: {say(claim.printed)}.</p>",
    ]
    if entry.weighed:
        items = (f"<li>{say(_part(w))}</li>" for w in entry.weighed)
        lines += ["<p>Ours, positive where the claim holds:</p>", f"<ul>{''.join(items)}</ul>"]
    if claim.note:
        lines.append(f"<p>About the test: {say(claim.note)}</p>")
    if entry.verdict == ledger.UNTESTED:
        lines.append(f"<p><em>Why it is not tested.</em> {say(entry.reason.rstrip('.'))}.</p>")
    elif entry.verdict != ledger.REPRODUCED:
        lines.append(f"<p><em>Likely cause.</em> {say(claim.cause)}</p>")
    if claim.page:
        lines.append(f"<p>Measured on {_link(claim.page, claim.anchor)}.</p>")
    return "\n".join([*lines, "</details>"])


def _part(weighed: ledger.Weighed) -> str:
    """A part of a claim in one line: what is subtracted, the difference, the test, the verdict."""
    if weighed.mean is None:
        return f"{weighed.part.label}: not recorded"
    p = ledger.significance(weighed)
    test = {"–": "no test", "sign": "decided by sign"}.get(p, f"p {p}" if p.startswith("<") else f"p = {p}")
    return f"{weighed.part.label}: {ledger.outcome(weighed)} ({ledger.sample_size(weighed)}), {test}: {weighed.verdict}"


def _link(page: str, anchor: str, text: str = "") -> str:
    return f'<a href="{page}.html#{anchor}">{text or page}</a>' if page else ""


def record_origins(records: ledger.Records) -> pd.DataFrame:
    """Where the recorded files come from: a row a model and section."""
    origins = {(model, section): each for model, record in records.items() for section, each in record.provenance.items()}
    rows, columns = {place: dict(each) for place, each in origins.items()}, ["date", "commit", "machine"]
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns).fillna("–")
    return table if rows else pd.DataFrame({"recorded files": ["none"]})


def as_data(entries: Iterable[ledger.Judgement], records: ledger.Records) -> dict:
    """The ledger as JSON values: every number that a verdict rests on, by seed, in the unit that was recorded."""
    return {
        "rule": {"test": "one-sided t-test of mean > 0", "level": ledger.LEVEL, "seeds needed": ledger.LEAST},
        "recorded files": {model: record.provenance for model, record in records.items()},
        "claims": [
            {
                "claim": entry.claim.name,
                "paper": TITLES[entry.claim.paper],
                "where": entry.claim.where,
                "statement": entry.claim.statement,
                "quote": entry.claim.quote,
                "the paper's figure": entry.claim.printed,
                "page": entry.claim.page,
                "verdict": entry.verdict,
                "reason": entry.reason,
                "parts": [
                    {"label": w.part.label, "unit": "share" if w.part.unit == "points" else w.part.unit, "values": w.values}
                    | {"mean": w.mean, "standard deviation": w.spread, "p": w.p, "verdict": w.verdict}
                    for w in entry.weighed
                ],
            }
            for entry in entries
        ],
    }
