"""For tests of claims: the verdict of one claim on a synthetic study, and the rows and metrics that it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from synthetic_study import SEEDS, Plan, changed, members, only, paper

from overopt.replication.claims.check import GROUPS
from overopt.replication.claims.claim import Claim
from overopt.replication.claims.logic import Finding
from overopt.replication.claims.study import Study
from overopt.replication.members import Members

BY_ID: dict[str, Claim] = {row.id: row for claims in GROUPS.values() for claim in claims for row in claim.rows()}

ME = {size: {"high": f"ME-{size}-1e-6", "low": f"ME-{size}-1e-7"} for size in ("1B", "2.8B", "6.9B")}
LOWEST = "ME-2.8B-5e-8"
MAXENT = (*(row for size in ME.values() for row in size.values()), LOWEST)
KL = ("KL-1B", "KL-2.8B", "KL-6.9B")
RELAXED = ("KL-relaxed-1B", "KL-relaxed-2.8B")
FAST, SLOW = "SIMPO-1B-1e-6", "SIMPO-1B-2e-7"

NEEDED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "C10": ((ME["1B"]["high"], ME["2.8B"]["high"], ME["6.9B"]["high"]), ()),
    "C11": ((ME["1B"]["high"], ME["6.9B"]["high"]), ()),
    "C12": ((ME["1B"]["low"],), ()),
    "C13": ((ME["1B"]["low"],), ()),
    "C14": (MAXENT, ("neg_logp_tok",)),
    "C15": (MAXENT, ("neg_logp_tok",)),
    "C16": ((ME["2.8B"]["low"], LOWEST), ()),
    "C17": (("KL-2.8B",), ()),
    "C18": (("KL-1B",), ()),
    "C19": ((ME["6.9B"]["low"],), ("score_mean",)),
    "C20": ((ME["6.9B"]["high"],), ()),
    "C21": (("KL-1B", "KL-2.8B", *RELAXED), ("kl_ref",)),
    "C22": ((*KL, *RELAXED), ("kl_prev",)),
    "C23": (MAXENT, ("kl_prev",)),
    "C24": (KL, ("kl_ref", "lr")),
    "C25": ((ME["1B"]["low"], ME["6.9B"]["low"]), ("kl_ref", "lr")),
    "C26": ((ME["2.8B"]["low"], LOWEST, ME["1B"]["low"], ME["6.9B"]["low"], "KL-1B", "KL-6.9B"), ("kl_ref",)),
    "C27": (("KL-6.9B", "KL-1B", ME["6.9B"]["low"]), ("kl_ref",)),
    "C28": (tuple(ME[size]["low"] for size in ME), ()),
    "C29": ((*MAXENT, *KL), ()),
    "C30": (("CLIP-2.8B",), ("kl_prev",)),
    "C31": (("MIN-1B", "KL-1B", ME["1B"]["high"]), ()),
    "C32": (("MIN-2.8B",), ()),
    "C33": ((*MAXENT, *KL), ()),
    "C34": ((FAST,), ("rewards_acc", "rewards_margin")),
    "C35": ((FAST,), ("logps_chosen_mean",)),
    "C36": (("HH-DPO",), ()),
    "C37": (("CHI-1B", "CHI-DPO-1B"), ()),
    "C38": ((FAST, SLOW, "DPO-1B"), ("logps_chosen_mean",)),
    "C39": ((SLOW,), ()),
    "C40": ((SLOW,), ()),
    "C41": ((SLOW, "DPO-1B"), ()),
    "C42": (("DPO-1B",), ()),
    "C43": (("DPO-1B",), ("ref_margin", "ref_margin_iqr")),
    "C44": (
        (SLOW, "KL-1B", "KL-2.8B", ME["1B"]["high"], ME["1B"]["low"], ME["2.8B"]["high"], ME["2.8B"]["low"], LOWEST),
        (),
    ),
}
"""By claim the rows, every one of which it needs, and the metrics; worked out from the claims' definitions."""


def base(claim: str) -> Plan:
    """The runs that a claim needs, of a study on which it is replicated."""
    return only(paper(), NEEDED[claim][0])


def found(claim: str, plan: Plan | Members, seeds: Iterable[int] = SEEDS) -> Finding:
    """What a study says about a claim or a part of one."""
    study = plan if isinstance(plan, Members) else members(plan, seeds)
    return BY_ID[claim].finding(Study(study))


def verdict(claim: str, plan: Plan | Members, seeds: Iterable[int] = SEEDS) -> str:
    return found(claim, plan, seeds).truth.value


def changed_base(claim: str, *changes: tuple[str, Mapping[str, Any], Mapping[str, float]]) -> Plan:
    """Those runs with changes: a row, what changes, and in which settings."""
    plan = base(claim)
    for row, change, setting in changes:
        plan = changed(plan, row, change, **setting)
    return plan
