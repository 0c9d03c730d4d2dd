"""The claims of the attention-only paper (Jin et al., 2024): abstract, contributions, discussion,
and the sentences of its sections that these rest on. Quotes are the paper's words, printed figures its numbers.
"""

from __future__ import annotations

import numpy as np

from tangent_lib.cost.measured_steps import LISTING_1
from tangent_lib.experiments.records import Record
from tangent_lib.modes import ABLATION_MODES
from tangent_lib.report import paper
from tangent_lib.report.claim_measures import Claim, Part, cost_part, gap, printed_gaps, section, value
from tangent_lib.report.pages import ATTENTION_PAGE
from tangent_lib.report.quantities import ABSOLUTE, COSINE, CURVE, KL, NORMALISED, SINGLE, XI, Quantity

TOLERANCE = 0.02  # of single-task accuracy, for "without compromising"
OURS = "attention-only"
SAME_RATE = (
    "All modes share one learning rate and one number of steps, chosen for training all weights. Attention weights "
    "are a third of the miniature's or less, so attention-only fine-tuning may be further from done when it stops."
)


def _closer_to_linear(record: Record, seed: str) -> float:
    whole, attention = (
        value(record, seed, f, SINGLE) - value(record, seed, f_lin, SINGLE)
        for f, f_lin in (("non-linear", "post-hoc"), (OURS, "attention post-hoc"))
    )
    return whole - attention


def _not_compromised(record: Record, seed: str) -> float:
    return value(record, seed, OURS, SINGLE) - value(record, seed, "non-linear", SINGLE) + TOLERANCE


def _worst_paradigm(quantity: Quantity) -> Part:
    def measure(record: Record, seed: str) -> float:
        ablated = lambda mode: quantity(section(record.ablation, mode, seed, what="ablation"))
        worst = np.min([ablated(mode) for mode in ABLATION_MODES])
        return float(worst) - value(record, seed, "linear", quantity)

    return Part(f"{quantity.name}: the worst of the four paradigms − linear", measure)


def _printed(greater: str, lesser: str, column: int) -> str:
    return printed_gaps(paper.ATTENTION_TABLE_2, "Table 2", greater, lesser, column)


def _printed_rows(*columns: int) -> str:
    rows = paper.ATTENTION_TABLE_5.values()
    return "; ".join(", ".join(f"{row[column]:.2f}" for row in rows) for column in columns)


ATTENTION_CLAIMS = (
    Claim(
        "S2-kernel", "S2", "abstract, contribution 2, discussion",
        "Fine-tuning attention alone stays closer to the linear regime: linearising it afterwards costs less accuracy.",
        "attention modules demonstrate stronger kernel behavior compared to the full model",
        "Figure 3; no number printed", ATTENTION_PAGE, "fig-kernel-behaviour",
        (Part("loss of single-task accuracy by post-hoc linearisation: whole model − attention only",
        _closer_to_linear),),
        note="Training fewer weights moves the function less, which alone keeps it nearer to its linearisation. "
        "The paper names no limit for “exhibit kernel behavior”; only the comparison is tested.",
        cause="Queries and keys enter through a product and a softmax, so the output is not linear in the attention "
        "weights either; at a rate sixty times that of CLIP both kinds of task vector are long.",
    ),
    Claim(
        "S2-linear-drawback", "S2", "abstract, Section 3.1; S1 Appendix D.1",
        "Linear fine-tuning is less accurate on single tasks than non-linear fine-tuning.",
        "reduced performance of individual models", "Figures 5 and 7; no number printed", ATTENTION_PAGE,
        "fig-attention-single-average", (gap(SINGLE, "non-linear", "linear"),),
        cause="Drawn tasks of ten classes may be simple enough for the linear model too.",
    ),
    Claim(
        "S2-single", "S2", "introduction, Section 3.3",
        "Attention-only models are better on single tasks than linearly fine-tuned ones.",
        "thus reducing the non-linear advantage more effectively",
        "89.55 % for attention-only (Table 5); the others in Figures 5 and 7, no number printed",
        ATTENTION_PAGE, "fig-attention-single-average", (gap(SINGLE, OURS, "linear"),), cause=SAME_RATE,
    ),
    Claim(
        "S2-no-compromise", "S2", "discussion",
        "Fine-tuning attention alone costs next to no single-task accuracy.",
        "without compromising individual accuracy or efficiency",
        "Figures 5 and 7; no number printed", ATTENTION_PAGE, "fig-attention-single",
        (Part("single-task accuracy: attention-only − non-linear + 2 points", _not_compromised),),
        note="The paper names no tolerance; the two points are ours. By its Section 3.3 non-linear models are never worse.",
        cause=SAME_RATE,
    ),
    Claim(
        "S2-addition-nonlinear", "S2", "contribution 1",
        "Attention-only fine-tuning gives a more accurate multi-task model than non-linear fine-tuning.",
        "8.37% over the non-linear baseline", _printed(OURS, "non-linear", 0), ATTENTION_PAGE, "tab-attention-addition",
        (gap(ABSOLUTE, OURS, "non-linear"),),
        cause="Where the best α is small, all modes stay near θ₀ and near each other. " + SAME_RATE,
    ),
    Claim(
        "S2-addition-linear", "S2", "contribution 1",
        "Attention-only fine-tuning gives a more accurate multi-task model than linear fine-tuning.",
        "up to 2.38% improvement compared to the state-of-the-art", _printed(OURS, "linear", 0),
        ATTENTION_PAGE, "tab-attention-addition", (gap(ABSOLUTE, OURS, "linear"),),
        cause="The paper's margin over linear fine-tuning is 1.4 to 2.4 points, printed without a spread, and its "
        "linear baseline is below that of the tangent-space paper for all three models. The last version of its "
        "released code does not train the tangent model that its text describes; this book does. " + SAME_RATE,
    ),
    Claim(
        "S2-normalised", "S2", "Section 3.4, for contribution 1",
        "Attention-only models also keep most of their single-task accuracy in addition.",
        "our method not only outperforms on averaged accuracy but also on normalization accuracy",
        f"against non-linear {_printed(OURS, 'non-linear', 1)}; against linear {_printed(OURS, 'linear', 1)}",
        ATTENTION_PAGE, "tab-attention-addition", (gap(NORMALISED, OURS, "non-linear"), gap(NORMALISED, OURS, "linear")),
        note="Normalised accuracy divides by single-task accuracy: a model that learns less has less to lose.",
        cause="Interference is a property of the function, and attention-only models are not linear in their weights.",
    ),
    Claim(
        "S2-xi", "S2", "abstract, introduction, Section 4.2",
        "Attention-only models are better disentangled than non-linear and linear ones, as classifiers and in "
        "features.",
        "Our method demonstrates greater weight disentanglement than its counterparts",
        "Figures 6 and 8; no number printed", ATTENTION_PAGE, "fig-xi-attention",
        tuple(gap(quantity, other, OURS) for quantity in (XI, KL) for other in ("non-linear", "linear")),
        note="On the diagonal α₁ = α₂ from 0.2 to 1, three task pairs. A shorter task vector lowers both errors by "
        "itself.",
        cause="How far a task vector moves the function at equal α differs between the modes, and neither error is "
        "relative to that.",
    ),
    Claim(
        "S2-representation", "S2", "abstract, contribution 3, discussion",
        "Disentanglement comes from the representation; the classification head degrades it.",
        "weight disentanglement emerges primarily from the representation module", "Figures 6 and 8; no number printed",
        ATTENTION_PAGE, "fig-xi-attention",
        untested="The paper compares a KL divergence of softmaxed features with a share of changed predictions. The "
        "two have different units, and multiplying all features by a constant changes the first without changing one "
        "prediction, so neither can be called smaller. A test needs one distance on both sides, relative to how far a "
        "task vector alone moves each; that is not recorded. Both errors are drawn on the page, side by side.",
    ),
    Claim(
        "S2-robust", "S2", "Section 4, Appendix B",
        "Attention-only models are less sensitive to α: on average over all α they are the most accurate.",
        "our method consistently outperforms both non-linear fine-tuning and NTK linearization",
        "Figure 9; no number printed", ATTENTION_PAGE, "fig-alpha-sensitivity",
        (gap(CURVE, OURS, "non-linear"), gap(CURVE, OURS, "linear")),
        note="Validation accuracy, averaged over tasks and the 21 values of α in [0, 1]. A shorter task vector makes "
        "any curve flatter.",
        cause="With eight long task vectors a sum leaves the region around θ₀ early, in whatever mode, and the "
        "average over α is then that of models far from it.",
    ),
    Claim(
        "S2-cost", "S2", "abstract, Section 3.4",
        "Attention-only fine-tuning is cheaper than linear fine-tuning, and faster than non-linear fine-tuning.",
        "our method is much more efficient than non-linear fine-tuning and NTK linearization",
        "10:15 against 40:59 (linear) and 17:38 minutes (non-linear); 892 against 1,882 and 892 MB (Table 4, by "
        "its size a text model)",
        ATTENTION_PAGE, "tab-efficiency",
        (cost_part("time of a step", True, LISTING_1, OURS, 1.0),
         cost_part("time of a step", True, "non-linear", OURS, 1.0),
         cost_part("bytes kept for the backward pass", False, LISTING_1, OURS, 1.0)),
        note="Linear is Listing 1, as in the papers; this library's own linear step is cheaper, as the page Cost shows. Any "
        "saving counts; the paper's caption says “only a quarter of the costs”. Time depends on the machine, and is repeated "
        "in rounds, not seeds.",
        cause="The backward pass still runs through the blocks: what is saved are the gradients of the untrained "
        "weights, at most about a fifth of the multiplications, which the fixed cost of many small operations can hide.",
    ),
    Claim(
        "S2-cosine", "S2", "Appendix B",
        "Task vectors of attention-only fine-tuning are closer to orthogonal.", "are closer to orthogonal",
        "Figure 10: matrices of single cosines, no average printed", ATTENTION_PAGE, "fig-cosines",
        (gap(COSINE, "non-linear", OURS), gap(COSINE, "linear", OURS)),
        note="Attention-only vectors have fewer entries, which makes cosines by chance larger, not smaller.",
        cause="Cosines of high-dimensional vectors are near zero in every mode, so that small common drifts decide.",
    ),
    Claim(
        "S2-ablation", "S2", "Section 3.4",
        "Training biases or MLP weights as well still beats linear fine-tuning, in all four paradigms.",
        "all four paradigms outperformed NTK linearization",
        f"absolute and normalised {_printed_rows(1, 2)} % (Table 5) against "
        f"{', '.join(f'{each:.2f}' for each in paper.ATTENTION_TABLE_2['linear'][0])} % for linear (Table 2)",
        ATTENTION_PAGE, "tab-ablation",
        (_worst_paradigm(ABSOLUTE), _worst_paradigm(NORMALISED)),
        note="The worst of the four is taken in each seed, which is strict.", cause=SAME_RATE,
    ),
    Claim(
        "S2-text", "S2", "Section 3.4",
        "The same holds for a language model (Flan-T5 on seven GLUE tasks).",
        "our method outperforms both non-linear fine-tuning and NTK linearization in vision and NLP tasks",
        "85.30 against 73.25 (non-linear) and 77.77 % (linear), average accuracy (Table 3)",
        untested="This book covers image models; it has no text model and no text tasks.",
    ),
)  # fmt: skip
