"""Data sets with invented records, in the file layouts and with the columns of public ones on the Hub.

Each function writes one repository's files into a folder. Lengths and counts are small; names, columns, types, splits
and shards are those of the originals.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from invented import Post, dialogue, instruction, post

Row = dict[str, Any]

EOS = "<|endoftext|>"
PAD = 50277
QUERY, RESPONSE, PAIR_RESPONSE = 512, 53, 169
"""Tokens to which the recipe's preprocessing pads queries, reference responses, and the responses of pairs."""


def tldr_sft(folder: Path, tokenizer: Any, sizes: dict[str, int]) -> None:
    """`vwxyzjn/summarize_from_feedback_tldr_3_filtered_oai_preprocessing_1706381144`."""
    for split, numbers in _numbers(sizes, 0).items():
        _parquet(folder, split, [_sft_row(post(number), tokenizer) for number in numbers], 2 if split == "train" else 1)
    _card(folder, list(sizes))


def _sft_row(one: Post, tokenizer: Any) -> Row:
    query = _query(one)
    response = f" {one.summary}{EOS}"
    tokens, reference = _left(tokenizer.encode(query), QUERY), tokenizer.encode(response)
    whole = tokenizer.encode(query + response)
    padded = _right(whole, QUERY + RESPONSE - 3)
    return {
        "id": one.id, "subreddit": one.subreddit, "title": one.title, "post": one.post, "summary": one.summary,
        "query_token": tokens, "query": query, "reference_response": response,
        "reference_response_token": _right(reference, RESPONSE), "reference_response_token_len": len(reference),
        "query_reference_response": query + response, "query_reference_response_token": padded,
        "query_reference_response_token_response_label": _labels(tokenizer.encode(query), padded),
        "query_reference_response_token_len": len(whole),
    }  # fmt: skip


def tldr_comparisons(folder: Path, tokenizer: Any, sizes: dict[str, int]) -> None:
    """`vwxyzjn/summarize_from_feedback_oai_preprocessing_1706381144`; a part of validation is about news articles."""
    for split, numbers in _numbers(sizes, 50_000).items():
        rows = [_pair_row(number, tokenizer, split, news=split != "train" and number % 16 == 0) for number in numbers]
        _parquet(folder, split, rows)
    _card(folder, list(sizes))


def _pair_row(number: int, tokenizer: Any, split: str, news: bool) -> Row:
    one, choice = post(number), number % 2
    info = {
        "id": one.id, "post": one.post, "title": one.title, "subreddit": one.subreddit, "site": None, "article": None,
    }  # fmt: skip
    batch = f"batch{3 + number % 8}" if split == "train" else "batch22"
    query, texts = _query(one), [f" {one.summary}", f" {one.worse}"]
    if news:
        info = {"id": one.id, "post": None, "title": one.title, "subreddit": None, "site": "cnn", "article": one.post}
        query, batch = f"Article:\n{one.post}\n\nTL;DR:\n", "cnndm2"
    policies = ["sup4_ppo_rm4", "sup1"]
    summaries = [{"text": text, "policy": policy, "note": None} for text, policy in zip(texts, policies, strict=True)]
    summaries = summaries if choice == 0 else summaries[::-1]
    row: Row = {
        "info": info, "summaries": summaries, "choice": choice, "worker": "w", "batch": batch,
        "split": "train" if split == "train" else f"valid{1 + number % 2}", "extra": {"confidence": 1 + number % 9},
        "query_token": _left(tokenizer.encode(query), QUERY), "query": query,
        "chosen_policy": policies[0], "rejected_policy": policies[1], "policies": "--".join(sorted(policies)),
    }  # fmt: skip
    for name, text in zip(("chosen", "rejected"), texts, strict=True):
        response = text + EOS
        tokens, whole = tokenizer.encode(response), tokenizer.encode(query.strip() + response)
        padded = _right(whole, 638)
        row |= {
            name: response, f"{name}_token": _right(tokens, PAIR_RESPONSE), f"{name}_token_len": len(tokens),
            f"query_{name}": query.strip() + response, f"query_{name}_token": padded,
            f"query_{name}_token_len": len(whole),
            f"query_{name}_token_response_label": _labels(tokenizer.encode(query.strip()), padded),
        }  # fmt: skip
    return row


def hh_rlhf(folder: Path, sizes: dict[str, int]) -> None:
    """`Anthropic/hh-rlhf`: a folder for each subset; the red team's attempts have another form."""
    start = 100_000
    for subset in ("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled"):
        for split, numbers in _numbers(sizes, start).items():
            _jsonl_gz(folder / subset / f"{split}.jsonl.gz", [_hh_row(number) for number in numbers])
        start += 10_000
    attempts = [{"transcript": "\n\nHuman: Hello.", "rating": 0.0, "tags": None, "is_upworker": False}]
    path = folder / "red-team-attempts" / "red_team_attempts.jsonl.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps(attempts).encode(), mtime=0))
    (folder / "README.md").write_text("---\nlicense: mit\ntags:\n- human-feedback\n---\n# Invented records\n")


def _hh_row(number: int) -> Row:
    turns, good, bad = dialogue(number, turns=1 + number % 3)
    start = "".join(f"\n\n{speaker}: {text}" for speaker, text in turns)
    other = start.replace("please", "now") if number % 97 == 0 else start  # a few differ before the last answer
    return {"chosen": f"{start}\n\nAssistant: {good}", "rejected": f"{other}\n\nAssistant: {bad}"}


def ultrafeedback(folder: Path, sizes: dict[str, int]) -> None:
    """`HuggingFaceH4/ultrafeedback_binarized`: splits for demonstrations, generation and preferences."""
    start = 200_000
    splits = []
    for kind in ("sft", "gen", "prefs"):
        for split, numbers in _numbers(sizes, start).items():
            splits.append(f"{split}_{kind}")
            _parquet(folder, splits[-1], [_ultrafeedback_row(number, kind == "gen") for number in numbers])
        start += 10_000
    _card(folder, splits)


def _ultrafeedback_row(number: int, generation: bool) -> Row:
    prompt = instruction(number)
    _, good, bad = dialogue(number)
    chosen, rejected = (
        [{"content": prompt, "role": "user"}, {"content": text, "role": "assistant"}] for text in (good, bad)
    )
    row = {"prompt": prompt, "prompt_id": f"{number:064x}", "chosen": chosen, "rejected": rejected}
    return row | {"messages": chosen[:1] if generation else chosen, "score_chosen": 8.5, "score_rejected": 5.0}


# Files


def _numbers(sizes: dict[str, int], start: int) -> dict[str, range]:
    """The numbers of each split's records; none is in two splits."""
    numbers = {}
    for split, count in sizes.items():
        numbers[split] = range(start, start + count)
        start += count
    return numbers


def _parquet(folder: Path, split: str, rows: Sequence[Row], shards: int = 1) -> None:
    """Shards as `push_to_hub` names them."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for i in range(shards):
        table = pa.Table.from_pylist(list(rows[i::shards]))
        pq.write_table(table, folder / "data" / f"{split}-{i:05d}-of-{shards:05d}.parquet")


def _jsonl_gz(path: Path, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _card(folder: Path, splits: Sequence[str]) -> None:
    """The card with the splits' files, as `push_to_hub` writes it."""
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for split in splits:
        lines += [f"  - split: {split}", f"    path: data/{split}-*"]
    (folder / "README.md").write_text("\n".join([*lines, "---", "# Invented records", ""]))


# Tokens, as the recipe's preprocessing pads them


def _query(one: Post) -> str:
    return f"SUBREDDIT: r/{one.subreddit}\n\nTITLE: {one.title}\n\nPOST: {one.post}\n\nTL;DR:"


def _left(tokens: list[int], size: int) -> list[int]:
    return [PAD] * (size - len(tokens)) + tokens


def _right(tokens: list[int], size: int) -> list[int]:
    return tokens + [PAD] * (size - len(tokens))


def _labels(query: list[int], padded: list[int]) -> list[int]:
    return [PAD] * len(query) + padded[len(query) :]
