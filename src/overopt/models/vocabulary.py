"""Whether the ids of two tokenizers mean the same, so that one model may read the other's ids."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from overopt.errors import UserError
from overopt.models.policy import Policy

SHOWN = 3
"""How many tokens a message names for each kind of difference."""


def vocabulary_differences(here: Any, there: Any) -> list[str]:
    """The differences in meaning between two tokenizers' ids, in words; empty if there are none.

    Compares the ids of all tokens, added and special ones included, and EOS. Padding may differ: no model reads it.
    """
    ours, theirs = here.get_vocab(), there.get_vocab()
    found = []
    moved = sorted((i, token) for token, i in ours.items() if theirs.get(token, i) != i)
    if moved:
        shown = ", ".join(f"{token!r} is {i} here and {theirs[token]} there" for i, token in moved[:SHOWN])
        found.append(f"{len(moved)} of {len(ours)} tokens have another id ({shown})")
    for only, where in ((ours.keys() - theirs.keys(), "here"), (theirs.keys() - ours.keys(), "there")):
        if only:
            found.append(f"{len(only)} tokens are only {where} ({_first_tokens(only)})")
    if here.eos_token != there.eos_token or here.eos_token_id != there.eos_token_id:
        found.append(f"the end of a sequence is {_end(here)} here and {_end(there)} there")
    return found


def encode_identically(here: Any, there: Any) -> bool:
    """Whether two tokenizers of one vocabulary give every text the same ids: equal normalizers, merges and so on."""
    if here is there:
        return True
    return _pipeline(here) == _pipeline(there)


def check_reference(policy: Policy, reference: Policy, dense: bool = False) -> None:
    """Raise UserError if the policy's ids mean something else to the reference.

    `dense`: whole distributions are compared, not only sampled tokens, so the heads must have equally many rows.
    """
    found = vocabulary_differences(policy.tokenizer, reference.tokenizer)
    if not found and dense and policy.vocabulary != reference.vocabulary:
        found = [f"its head has {reference.vocabulary} rows, the policy's {policy.vocabulary}"]
    if found:
        raise UserError(
            f"reference: {model_location(reference)} does not share the vocabulary of the policy (there, against "
            f"{model_location(policy)} here): {'; '.join(found)}. Probabilities of the same tokens are compared, so "
            "name a reference with the policy's own tokenizer: what it started from, say"
        )


def model_location(model: Any) -> str:
    """The folder from which a policy or a reward model was loaded, for messages."""
    return str(model.model.name_or_path or "the model")


def _pipeline(tokenizer: Any) -> Any:
    """All settings that decide a text's ids; padding and truncation are never used here."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # a tokenizer written in Python: its class decides
        return type(tokenizer).__name__, tokenizer.init_kwargs.get("add_bos_token")
    steps = json.loads(backend.to_str())
    return {name: step for name, step in steps.items() if name not in ("padding", "truncation")}


def _first_tokens(tokens: Collection[str]) -> str:
    return ", ".join(map(repr, sorted(tokens)[:SHOWN])) + ", ..." * (len(tokens) > SHOWN)


def _end(tokenizer: Any) -> str:
    return f"{tokenizer.eos_token!r} ({tokenizer.eos_token_id})"
