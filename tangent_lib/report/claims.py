"""Every claim that the two papers make in abstract, contributions and conclusion, with its test.

S1 is the tangent-space paper, S2 the attention-only paper. ``tangent_lib.report.ledger`` computes the verdicts.
Definitions (contribution 1 of S1, the two modules of S2) and propositions with a proof are no claims in this sense.
"""

from __future__ import annotations

from tangent_lib.report.claim_measures import Claim
from tangent_lib.report.claims_attention import ATTENTION_CLAIMS
from tangent_lib.report.claims_tangent import TANGENT_CLAIMS

TITLES = {"S1": "Task Arithmetic in the Tangent Space", "S2": "Fine-Tuning Attention Modules Only"}
CLAIMS: tuple[Claim, ...] = (*TANGENT_CLAIMS, *ATTENTION_CLAIMS)
