"""Invented records in the raw forms in which public data sets of preferences are published, with their irregularities.

Each function returns the rows of one file. Every so many rows something is missing, tied or repeated, as in the
originals.
"""

from __future__ import annotations

from typing import Any

from invented import dialogue, instruction, post

Row = dict[str, Any]
ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")


def tldr_sft(count: int) -> list[Row]:
    """`tldr_3_filtered/train.jsonl` of OpenAI's `summarize-from-feedback`."""
    found = [post(number) for number in range(count)]
    return [
        {"id": p.id, "subreddit": p.subreddit, "title": p.title, "post": p.post, "summary": p.summary} for p in found
    ]


def comparisons(count: int) -> list[Row]:
    """`comparisons/batch*.json` of the same: posts, and news in its last batches; some summaries are equal."""
    rows = []
    for number in range(count):
        p, news = post(number), number % 10 == 9
        worse = p.summary if number % 17 == 16 else p.worse
        info = {"id": p.id, "post": p.post, "title": p.title, "subreddit": p.subreddit}
        summaries = [
            {"text": f" {text}", "policy": policy, "note": None}
            for text, policy in ((p.summary, "ref"), (worse, "sup1"))
        ]
        if news:
            info = {"id": p.id, "article": p.post, "title": p.title, "site": "cnn"}
        choice = number % 2
        rows.append(
            {
                "info": info,
                "summaries": summaries[::-1] if choice else summaries,
                "choice": choice,
                "worker": f"w{number % 3}",
                "batch": "cnndm2" if news else f"batch{3 + number % 8}",
                "split": ("train", "valid1", "valid2")[number % 3],
                "extra": {"confidence": None if number % 4 == 0 else 1 + number % 9},
            }
        )
    return rows


def axis_evals(count: int) -> list[Row]:
    """`axis_evals/batch*.json` of the same: three rated summaries a post, the third without an overall rating."""
    rows = []
    for number in range(count):
        p, which = post(number // 3), number % 3
        axes = {
            "overall": (6, 2, None)[which],
            "accuracy": 7,
            "coverage": 3,
            "coherence": 5,
        }
        text = f" {(p.summary, p.worse, 'Things.')[which]}"
        info = {"id": p.id, "post": p.post, "title": p.title, "subreddit": p.subreddit}
        summary = {"text": text, "policy": f"sup{which}", "note": "note", "axes": axes}
        rows.append({"info": info, "split": "valid1", "summary": summary, "worker": "w", "batch": "axis1"})
    return rows


def hh(count: int) -> list[Row]:
    """`Anthropic/hh-rlhf`, any subset of preferences: some differ before the last answer, or end with the person."""
    rows = []
    for number in range(count):
        turns, good, bad = dialogue(number, turns=1 + number % 3)
        start = "".join(f"\n\n{speaker}: {text}" for speaker, text in turns)
        other = start.replace("please", "now") if number % 11 == 10 else start
        bad = f"{bad}\n\nHuman: Thank you." if number % 13 == 12 else bad
        rows.append({"chosen": f"{start}\n\nAssistant: {good}", "rejected": f"{other}\n\nAssistant: {bad}"})
    return rows


def ultrafeedback(count: int) -> list[Row]:
    """`openbmb/UltraFeedback`: four rated completions; some are tied, or not rated."""
    rows = []
    for number in range(count):
        ratings = [(1 + (number + k) % 5, 1 + (number * k) % 5, 1 + k, 3) for k in range(4)]
        completions = []
        for k, given in enumerate(ratings):
            shown = ["N/A"] * 4 if number % 9 == 8 and k == 2 else [str(rating) for rating in given]
            annotations = {
                aspect: {"Rating": rating, "Rationale": "because"}
                for aspect, rating in zip(ASPECTS, shown, strict=True)
            }
            completions.append(
                {"model": f"model-{k}", "principle": "honesty", "response": f"Answer {k}.", "annotations": annotations}
            )
        rows.append(
            {
                "source": "invented",
                "instruction": f"{instruction(number)} ({number})",
                "models": [completion["model"] for completion in completions],
                "completions": completions,
                "correct_answers": ["None"],
            }
        )
    return rows


def ultrafeedback_binarized(count: int) -> list[Row]:
    """`HuggingFaceH4/ultrafeedback_binarized`, `train_prefs`; some scores are tied."""
    rows = []
    for number in range(count):
        prompt, (_, good, bad) = f"{instruction(number)} ({number})", dialogue(number)
        chosen, rejected = ([_turn("user", prompt), _turn("assistant", text)] for text in (good, bad))
        row = {"prompt": prompt, "prompt_id": f"{number:064x}", "chosen": chosen, "rejected": rejected}
        rows.append(row | {"messages": chosen, "score_chosen": 8.5, "score_rejected": 8.5 if number % 7 == 6 else 5.0})
    return rows


def prompt_completion(count: int) -> list[Row]:
    """`trl-lib/tldr`."""
    return [{"prompt": _prompt(number), "completion": f" {post(number).summary}"} for number in range(count)]


def messages(count: int) -> list[Row]:
    """Conversations, as supervised fine-tuning in TRL takes them."""
    rows = []
    for number in range(count):
        turns, good, _ = dialogue(number, turns=1 + number % 2)
        spoken = [_turn("user" if speaker == "Human" else "assistant", text) for speaker, text in turns]
        rows.append({"messages": [*spoken, _turn("assistant", good)]})
    return rows


def implicit_prompts(count: int) -> list[Row]:
    """`trl-lib/ultrafeedback_binarized`: `chosen` and `rejected` are whole conversations, without a prompt."""
    names = ("chosen", "rejected", "score_chosen", "score_rejected")
    return [{name: row[name] for name in names} for row in ultrafeedback_binarized(count)]


def unpaired(count: int) -> list[Row]:
    """`trl-lib/kto-mix-14k`: one completion a row, with a label; of every third prompt the bad one is missing."""
    rows = []
    for number in range(count):
        turns, good, bad = dialogue(number // 2)
        label = number % 2 == 0
        if not label and number // 2 % 3 == 2:
            continue
        prompt = [_turn("user", f"{turns[0][1]} ({number // 2})")]
        rows.append({"prompt": prompt, "completion": [_turn("assistant", good if label else bad)], "label": label})
    return rows


def _turn(role: str, content: str) -> Row:
    return {"content": content, "role": role}


def _prompt(number: int) -> str:
    p = post(number)
    return f"SUBREDDIT: r/{p.subreddit}\n\nTITLE: {p.title}\n\nPOST: {p.post}\n\nTL;DR:"
