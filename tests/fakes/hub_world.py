"""A folder with a small stand-in for every public repository that the recipes name, to be served by `hub.py`."""

from __future__ import annotations

from pathlib import Path

import hub_data_sets
import hub_models
from invented import dialogue, instruction

TLDR, PAIRS = (
    "vwxyzjn/summarize_from_feedback_tldr_3_filtered_oai_preprocessing_1706381144",
    "vwxyzjn/summarize_from_feedback_oai_preprocessing_1706381144",
)
PYTHIA = {"1b": (50_304, False), "2.8b": (50_304, False), "6.9b": (50_432, True)}
"""Rows of the vocabulary's matrix, and whether the weights are in several files."""
SMOLLM2, HH, ULTRAFEEDBACK = (
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "Anthropic/hh-rlhf",
    "HuggingFaceH4/ultrafeedback_binarized",
)
GATED = [("model", "meta-llama/Llama-3.2-1B-Instruct"), ("model", "meta-llama/Llama-3.1-8B-Instruct")]

MODELS = {*(f"EleutherAI/pythia-{size}-deduped" for size in PYTHIA), *(name for _, name in GATED), SMOLLM2}
DATA_SETS = {TLDR, PAIRS, HH, ULTRAFEEDBACK}


def write_world(root: Path, real: Path | None = None) -> list[tuple[str, str]]:
    """Write `models/OWNER/NAME` and `datasets/OWNER/NAME`; returns the gated ones. `real` is SmolLM2's folder."""
    from transformers import AutoTokenizer

    models, data = root / "models", root / "datasets"
    for size, (vocabulary, shards) in PYTHIA.items():
        hub_models.pythia(models / "EleutherAI" / f"pythia-{size}-deduped", vocabulary, shards)
    tokenizer = AutoTokenizer.from_pretrained(models / "EleutherAI" / "pythia-1b-deduped")
    corpus = [instruction(i) for i in range(200)] + [text for i in range(200) for text in dialogue(i)[1:]]
    for _, name in GATED:
        hub_models.llama(models / name, corpus)
    if real is not None:
        hub_models.linked(models / SMOLLM2, real)
    hub_data_sets.tldr_sft(data / TLDR, tokenizer, {"train": 48, "validation": 16, "test": 8})
    hub_data_sets.tldr_comparisons(data / PAIRS, tokenizer, {"train": 48, "validation": 32})
    hub_data_sets.hh_rlhf(data / HH, {"train": 16, "test": 8})
    hub_data_sets.ultrafeedback(data / ULTRAFEEDBACK, {"train": 48, "test": 16})
    return GATED
