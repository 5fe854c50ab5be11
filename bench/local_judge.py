"""How well a small local model judges, and how long it takes: SmolLM2-135M on LLMBar's pairs, by prompt and answer.

    python bench/local_judge.py examples/data/llmbar_*.json [--model out/example/model] [--table bench/local_judge.md]

Each judge is asked about every pair in both orders. Accuracy is against the human label (a tie is half right), kappa is
Cohen's; position bias is by how much the share of replies that prefer the first text exceeds 1/2. All intervals are
95 % intervals over pairs. What was measured is kept in out/bench/local_judge.jsonl and not measured again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from measuring import machine

from overopt.engine.compute import Compute
from overopt.evaluation.judges.base import Comparison, Judgement, Reply, Situation
from overopt.evaluation.judges.hf import HF
from overopt.evaluation.judges.prompts import J1, J2, Criterion
from overopt.statistics import Estimate, agreement, kappa, order_consistency, position_bias, wilson
from overopt.types import Completion, PromptRecord

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "out" / "bench" / "local_judge.jsonl"
PROMPTS = {"J2": J2(), "J1": J1(max_tokens=128), "criterion": Criterion(max_tokens=128)}
ANSWERS: tuple[Literal["logprobs", "text"], ...] = ("logprobs", "text")
FIRST = {"A": {"ours": 1.0, "reference": 0.0}, "B": {"ours": 0.0, "reference": 1.0}}
"""Whether a reply prefers the text that stands first, by where ours stands and which is preferred."""
NAMES = ("accuracy", "kappa", "position_bias", "order_consistency")

ABOUT = """\
# A small model as a judge

SmolLM2-135M-Instruct (as `make example` fetches it) on the pairs of LLMBar, in both orders, by our three prompts. By
`logprobs` the answer is the most probable of the allowed replies; as `text` the model writes greedily, 128 tokens at
most (J2: 1), and what does not follow the format is invalid. With 95 % intervals over pairs. Accuracy is against the
human label, over the pairs with valid replies; a tie, as when the order decides, is half right. Position bias: the
share of valid replies that prefer the first text, less 1/2. Consistent: pairs whose two replies prefer the same text.
s: CPU seconds of a reply, one thread; questions have {tokens:.0f} tokens on average. LLMBar has 100 natural and 134
adversarial pairs; where fewer are in the table, they are the file's first.
Made by `python bench/local_judge.py examples/data/llmbar_*.json`. Machine: {machine}.

{verdict}

{table}
For comparison: preferring the shorter text, without reading it, is right on {short}, of all pairs.
"""


def main() -> None:
    """Judge, keep what was measured, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="files of LLMBar")
    parser.add_argument("--model", type=Path, default=ROOT / "out" / "example" / "model")
    parser.add_argument("--table", type=Path, default=Path(__file__).with_suffix(".md"))
    parser.add_argument("--pairs", type=int, help="judge only so many pairs of each file")
    parser.add_argument("--text-pairs", type=int, help="and as text only so many")
    options = parser.parse_args()
    torch.set_num_threads(1)
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in KEPT.read_text().splitlines()] if KEPT.exists() else []
    done = {(row["file"], row["prompt"], row["answer"], row["pairs"]) for row in rows}
    for answer in ANSWERS:
        for name in PROMPTS:
            for file in options.files:
                pairs = json.loads(file.read_text(encoding="utf-8"))[: options.pairs]
                pairs = pairs[: options.text_pairs] if answer == "text" else pairs
                if (file.name, name, answer, len(pairs)) in done:
                    continue
                row = {"file": file.name, "prompt": name, "answer": answer} | measure(
                    options.model, name, answer, pairs
                )
                print(json.dumps(row), flush=True)
                rows.append(row)
                with KEPT.open("a", encoding="utf-8") as kept:
                    kept.write(json.dumps(row) + "\n")
                options.table.write_text(page(rows, options.files), encoding="utf-8")


def measure(model: Path, prompt: str, answer: Literal["logprobs", "text"], pairs: Sequence[dict[str, Any]]) -> Any:
    """Return what a judge says of pairs, as a row, with the seconds that it took."""
    judge = HF(model=str(model), prompt=PROMPTS[prompt], answer=answer)
    with tempfile.TemporaryDirectory() as folder:
        situation = Situation(cache=Path(folder) / "cache.sqlite", compute=Compute(device="cpu", threads=1))
        judge.judge([comparison(pairs[0])], situation)  # loads the model
        began = time.process_time()
        judgements = judge.judge([comparison(pair) for pair in pairs[1:]], situation)
        seconds = (time.process_time() - began) / (2 * len(judgements))
        judgements = [*judge.judge([comparison(pairs[0])], situation), *judgements]
        tokens = mean_prompt(judge, pairs, situation)
    labels = [float(int(pair["label"]) == 1) for pair in pairs]
    return {"pairs": len(pairs), "seconds": seconds, "tokens": tokens} | measures(labels, judgements)


def mean_prompt(judge: HF, pairs: Sequence[dict[str, Any]], situation: Situation) -> float:
    """Return the mean number of tokens of the questions, from the cache."""
    questions = [judge.prompt.question(comparison(pair), position) for pair in pairs for position in ("A", "B")]
    answers = judge.ask(questions, situation)
    return sum(answer.input_tokens for answer in answers) / len(answers)


def comparison(pair: dict[str, Any]) -> Comparison:
    """Return a pair of LLMBar, its first output as ours."""
    return Comparison(PromptRecord(pair["input"], pair["input"]), *(Completion(pair[f"output_{i}"]) for i in (1, 2)))


def measures(labels: Sequence[float], judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Return accuracy, kappa, position bias and consistency, each with its interval and count; and the invalid share.

    `labels` are 1 where people prefer ours, 0 where the other.
    """
    known = [(label, j.outcome) for label, j in zip(labels, judgements, strict=True) if j.outcome is not None]
    people, judge = [label for label, _ in known], [outcome for _, outcome in known]
    first = [[first_preferred(reply) for reply in judgement.replies] for judgement in judgements]
    replies = [reply for judgement in judgements for reply in judgement.replies]
    invalid = sum(reply.verdict == "invalid" for reply in replies)
    found = {
        "accuracy": agreement(people, judge),
        "kappa": kappa(people, judge),
        "position_bias": position_bias(first),
        "order_consistency": order_consistency(first),
        "invalid_replies": Estimate(invalid / len(replies), *wilson(invalid, len(replies)), len(replies)),
    }
    return {name: None if estimate is None else list(estimate) for name, estimate in found.items()} | {
        "valid_pairs": len(known)
    }


def first_preferred(reply: Reply) -> float:
    """Return 1 if a reply prefers the text that stands first, 0 the second, 1/2 neither, NaN if it is invalid."""
    if reply.verdict in ("tie", "invalid"):
        return 0.5 if reply.verdict == "tie" else float("nan")
    return FIRST[reply.ours_position][reply.verdict]


# --- The page


def page(rows: Sequence[dict[str, Any]], files: Sequence[Path]) -> str:
    """Return the page: the rows of all judges, and what they say."""
    head = "| pairs | prompt | answer | valid pairs | accuracy | kappa | position bias | consistent | invalid | s |"
    lines = [head, "|---" * 10 + "|"]
    for file in files:
        for row in [row for row in rows if row["file"] == file.name]:
            cells = [label(file), row["prompt"], row["answer"], f"{row['valid_pairs']} of {row['pairs']}"]
            cells += [interval(row[name], signed=name in ("kappa", "position_bias")) for name in NAMES]
            cells += [f"{row['invalid_replies'][0]:.0%}", f"{row['seconds']:.2f}"]
            lines.append("| " + " | ".join(cells) + " |")
    short = "; ".join(f"{shorter(json.loads(file.read_text('utf-8')))} of {label(file)}" for file in files)
    tokens = sum(row["tokens"] for row in rows) / len(rows)
    table = "\n".join(lines) + "\n"
    return ABOUT.format(machine=machine(), table=table, short=short, tokens=tokens, verdict=verdict(rows))


def verdict(rows: Sequence[dict[str, Any]]) -> str:
    """Return in words whether any judge is better than chance, and how far the order decides."""
    judged = [row for row in rows if row["accuracy"] is not None]
    better = [row for row in judged if row["accuracy"][1] > 0.5]
    worse = [row for row in judged if row["accuracy"][2] < 0.5]
    biased = [row for row in judged if row["position_bias"][1] > 0 or row["position_bias"][2] < 0]
    return (
        f"**Of {len(rows)} rows, {len(better)} are better than chance** (the interval of the accuracy lies above 1/2), "
        f"{len(worse)} worse,\nand {len(rows) - len(judged)} give no valid judgement at all; in {len(biased)} the "
        "order of the texts sways the replies."
    )


def label(file: Path) -> str:
    return file.stem.removeprefix("llmbar_").replace("_", " ")


def interval(found: Sequence[float] | None, signed: bool) -> str:
    """Return a value with its interval, such as `0.52 (0.43 to 0.61)`; a dash where there is none."""
    if found is None:
        return "-"
    value, low, high = (f"{number:{'+' if signed else ''}.2f}" for number in found[:3])
    return f"{value} ({low} to {high})"


def shorter(pairs: Sequence[dict[str, Any]]) -> str:
    right = sum(len(pair[f"output_{pair['label']}"]) < len(pair[f"output_{3 - pair['label']}"]) for pair in pairs)
    return f"{right / len(pairs):.2f}"


if __name__ == "__main__":
    main()
