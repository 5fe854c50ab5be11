"""What Huang et al. 2024 and the paper publish of each stage, and the table that sets a recipe's settings beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from overopt.addresses import flatten
from overopt.studies.expand import ExpandedStudy, SingleRun
from overopt.studies.study import Study

Settings = dict[str, Any]

OPTIMIZER: Settings = {
    "optimizer.name": "adamw", "optimizer.betas.0": 0.9, "optimizer.betas.1": 0.999, "optimizer.eps": 1e-5,
    "optimizer.weight_decay": 0.01, "grad_clip": None, "schedule.warmup": 0, "schedule.floor": 0.0,
}  # fmt: skip
SHARED: Settings = OPTIMIZER | {
    "trainable.name": "full", "task.long_posts": "cut", "task.prompt_style": "raw", "max_prompt_tokens": 512,
    "compute.precision": "bf16",
}  # fmt: skip
POSTS = "hf://datasets/vwxyzjn/summarize_from_feedback_tldr_3_filtered_oai_preprocessing_1706381144"
PAIRS = "hf://datasets/vwxyzjn/summarize_from_feedback_oai_preprocessing_1706381144"

PUBLISHED: dict[str, Settings] = {
    "sft": SHARED | {
        "model.path": "hf://EleutherAI/pythia-1b-deduped", "task.path": POSTS, "task.split": "train",
        "task.evaluation_split": "validation", "task.evaluation_prompts": "all of them", "seed": 44413, "lr": 3e-6,
        "schedule.name": "cosine", "steps": None, "batch_size": 128, "loss_on_prompt": True,
        "max_completion_tokens": 53,
    },
    "reward_model": SHARED | {
        "policy": "the SFT model", "task.path": PAIRS, "task.split": "train", "task.evaluation_split": "validation",
        "pairs.name": "task", "loss.name": "bradley_terry", "loss.margin": 0.0, "loss.centering": 0.0, "seed": 44413,
        "lr": 3e-6, "schedule.name": "cosine", "epochs": 1, "batch_size": 64,
        "normalization": "center, on the SFT demonstrations", "max_completion_tokens": 169,
    },
    "online": SHARED | {
        "policy": "the SFT model", "reward_model": "the reward model", "reference": None, "rewards": [],
        "task.path": POSTS, "task.split": "train", "task.evaluation_split": "validation",
        "task.evaluation_prompts": "all of them", "seed": 44413, "advantage.name": "GAE with a value network",
        "loss.name": "ppo_clip, by token", "loss.clip": 0.2, "loss.clip_high": None, "loss_regularizers": [],
        "regularizers.0.name": "kl", "regularizers.0.coef": 0.05, "missing_eos.name": "replace",
        "missing_eos.value": -1.0, "centering.name": "recorded", "lr": 3e-6, "schedule.name": "linear",
        "total_episodes": 1_000_000,
        "episodes_per_update": 512, "samples_per_prompt": 1, "epochs": 4, "minibatches": 1, "temperature": 0.7,
        "max_completion_tokens": 53,
    },
    "offline": SHARED | {
        "policy": "the SFT model", "reference": None, "task.path": PAIRS, "task.split": "train",
        "task.evaluation_split": "validation of the posts", "pairs.name": "task", "seed": 44413, "loss.name": "dpo",
        "loss.beta": 0.05, "loss.label_smoothing": 0.0, "prepend_bos": False, "lr": 3e-6,
        "schedule.name": "cosine", "epochs": 1,
        "steps": None, "batch_size": 64, "temperature": 1.0, "max_completion_tokens": 169,
    },
}  # fmt: skip
"""Stage -> address -> the recipe's value, or, in words, what no value here says. Of SimPO the paper alone speaks."""

NO_COUNTERPART = {
    "stage", "task.name", "model.name", "task.subset", "task.evaluation_path", "task.holdout", "task.format",
    "task.limit", "task.report.samples", "task.gold_function", "checkpoint_every", "keep", "stop_when", "sinks",
    "probes.every", "compute.device", "compute.threads", "compute.token_budget", "compute.gradient_checkpointing",
    "compute.offload",
    "evaluation_temperature", "loss.smoothing",
}  # fmt: skip
"""What the machine, the records and the reading of files need."""
OF_ONE_STAGE = {("reward_model", "task.evaluation_prompts"), ("offline", "task.evaluation_prompts"),
                ("offline", "reward_model")}  # fmt: skip
"""No counterpart in this stage: it has no prompts, or only measures with it."""
OWN = {"regularizers.0.gradient_correction", "regularizers.0.emulate_trl_sentinel", "regularizers.0.temperature",
       "loss.alpha", "loss.gamma"}  # fmt: skip
"""Fields of objectives that the recipe has not."""

PARENTS = {"runs/SFT": "the SFT model", "runs/RM": "the reward model"}


def rows(study: ExpandedStudy, written: Study) -> Iterator[tuple[str, str, str, str, str]]:
    """Run, address, published value, value here, and where a value that departs comes from.

    What is neither published nor `written` in the recipe's file is left out: a choice of overopt's own at its default.
    """
    shown: dict[tuple[str, ...], None] = {}
    for run in study.runs.values():
        for row in _rows_of(run, flatten(written.config(run.row, written.default_scale, 0))):
            if (run.stage, *row) not in shown:  # the second run of a stage repeats most of the first's
                shown[run.stage, *row] = None
                yield run.row, *row


def _rows_of(run: SingleRun, written: Settings) -> Iterator[tuple[str, str, str, str]]:
    published, here = PUBLISHED[run.stage], flatten(run.config)
    for address, value in here.items():
        if address.startswith("provenance.") or address in NO_COUNTERPART or (run.stage, address) in OF_ONE_STAGE:
            continue
        if address not in published and address not in OWN and address not in written:
            continue
        ours = next((name for start, name in PARENTS.items() if str(value).startswith(start)), value)
        theirs = published.get(address, "–" if address in OWN else "?")
        yield address, text(theirs), text(ours), "" if theirs == ours else source(run.config["provenance"], address)


def source(provenance: Mapping[str, str], address: str) -> str:
    """The tag of an address or of what contains it; nothing if there is none."""
    parts = address.split(".")
    return next((provenance[k] for n in range(len(parts), 0, -1) if (k := ".".join(parts[:n])) in provenance), "")


def text(value: Any) -> str:
    if isinstance(value, float) and 0 < abs(value) < 1e-3:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value >= 100_000:
        return f"{value:,}"
    return "none" if value == [] else str(value)


def table(study: ExpandedStudy, written: Study) -> str:
    """The rows as Markdown."""
    lines = ["| run | setting | published | here | source of what departs |", "|---|---|---|---|---|"]
    lines += [
        f"| {run} | `{address}` | {theirs} | {'the same' if not tag and theirs == ours else ours} | {tag} |"
        for run, address, theirs, ours, tag in rows(study, written)
    ]
    return "\n".join(lines).replace("hf://datasets/vwxyzjn/summarize_from_feedback", "hf://datasets/vwxyzjn/…")
