"""Changes of meaning, made one at a time in a copy of the checkout: does a test notice each of them?

    python bench/mutations.py [NAME ...] [--table bench/mutations.md]

A line for each change: `caught` (a named test failed), `MISSED` (all passed), `moved` (the text to change is no longer
there, or is there twice: bring the entry up to date) or `broken` (pytest could not run the tests, so they say nothing).
All named tests run once without any change first, since a test that fails anyway catches nothing. The exit code is 1
unless everything is caught.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
COPIED = ("src", "tests", "examples", "bench", "docs", "pyproject.toml", "README.md", "Makefile")


@dataclass(frozen=True)
class Mutation:
    """One change: `old` becomes `new` in a file of `src/overopt`; `tests` are pytest's arguments, below `tests`."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


ACCURACY = "training/test_probes.py::test_accuracy_is_the_share_of_pairs_in_which_the_chosen_wins_and_a_tie_counts_half"
MUTATIONS = (
    Mutation(
        "temperature of the head's gradient",
        "engine/head.py",
        "grad_M = grad_M / ctx.temperature\n",
        "grad_M = grad_M / 1.0\n",
        ("engine/test_head.py::test_the_gradient_at_a_temperature_by_hand",),
    ),
    Mutation(
        "grad_clip of the online update",
        "training/policy_update.py",
        "optimizer.step(step, config.grad_clip)",
        "optimizer.step(step, None)",
        ("training/test_policy_update.py::test_the_gradient_is_clipped_to_the_norm_that_is_set",),
    ),
    Mutation(
        "first: every minibatch of the first epoch",
        "training/policy_update.py",
        "first = epoch == 0 and start == 0",
        "first = epoch == 0",
        ("training/test_policy_update.py::test_the_sampler_is_compared_before_the_first_update_only",),
    ),
    Mutation(
        "first: the first minibatch of every epoch",
        "training/policy_update.py",
        "first = epoch == 0 and start == 0",
        "first = start == 0",
        ("training/test_policy_update.py::test_the_sampler_is_compared_before_the_first_update_only",),
    ),
    Mutation(
        "accuracy of ties in pairs",
        "training/probes.py",
        "margin_P.new_tensor(0.5)",
        "margin_P.new_tensor(0.0)",
        (ACCURACY,),
    ),
    Mutation(
        "accuracy of ties in the reward model's steps",
        "training/reward_model.py",
        "gap_PK.new_tensor(0.5)",
        "gap_PK.new_tensor(0.0)",
        ("training/test_reward_model.py::test_scores_that_tie_are_half_right",),
    ),
    Mutation(
        "accuracy of ties in the reward model's evaluations",
        "training/reward_model.py",
        "(gap > 0).double() + 0.5 * (gap == 0)",
        "(gap > 0).double()",
        ("training/test_reward_model.py::test_scores_that_tie_are_half_right",),
    ),
    Mutation(
        "seed of the demonstrations that center",
        "training/reward_model.py",
        "config.task.demonstrations(config.seed, Dropped())",
        "config.task.demonstrations(0, Dropped())",
        ("training/test_reward_model.py::test_scores_are_centered_on_the_demonstrations_of_the_run_s_own_seed",),
    ),
    Mutation(
        "labels' random streams named alike",
        "training/pairs.py",
        'f"labels of {purpose}"',
        '"labels"',
        ("training/test_pairs.py::test_labels_of_different_prompts_are_different_coins",),
    ),
    Mutation(
        "the first sampling temperature",
        "training/pairs.py",
        "first = self.temperatures[0]",
        "first = self.temperatures[-1]",
        ("training/test_pairs.py::test_heldout_pairs_are_sampled_at_the_first_temperature",),
    ),
    Mutation(
        "non-finite weights at the last step",
        "training/session.py",
        "_check_finite(moving.model, step)",
        "_check_finite(moving.model, step) if step < self.steps else None",
        ("training/test_session.py::test_weights_that_the_last_update_broke_end_in_no_checkpoint",),
    ),
    Mutation(
        "non-finite weights before an evaluation",
        "training/session.py",
        "_check_finite(policy, step)\n",
        "\n",
        ("training/test_session.py::test_weights_that_the_last_update_broke_end_in_no_checkpoint",),
    ),
    Mutation(
        "offline accuracy inverted",
        "training/probes.py",
        "torch.heaviside(margin_P, ",
        "torch.heaviside(-margin_P, ",
        (ACCURACY,),
    ),
    Mutation(
        "draws of evaluations keyed by the number of prompts",
        "evaluation/evaluator.py",
        'DrawKey(self.seed, "evaluation", 0)',
        'DrawKey(self.seed, "evaluation", len(self.prompts))',
        ("evaluation/test_evaluator.py::test_the_distance_on_a_prompt_does_not_depend_on_the_other_prompts",),
    ),
    Mutation(
        "width of a tie: wider",
        "evaluation/judges.py",
        "TIE = 1e-9",
        "TIE = 1e-3",
        ("evaluation/test_judges.py",),
    ),
    Mutation(
        "width of a tie: narrower",
        "evaluation/judges.py",
        "TIE = 1e-9",
        "TIE = 1e-15",
        ("evaluation/test_judges.py",),
    ),
    Mutation(
        "rose, in OVER-PEAK",
        "outcomes.py",
        "if rose and dropped:",
        "if dropped:",
        ("test_outcomes.py",),
    ),
    Mutation(
        "the judge's name when samples are read",
        "outcomes.py",
        "if row[1] == split and row[2] in (judge, None)",
        "if row[1] == split",
        ("test_outcomes.py",),
    ),
    Mutation(
        "STALL's scale from the last scores",
        "outcomes.py",
        "proxy_sd = float(np.std(list(first.proxy.values())))",
        "proxy_sd = float(np.std(list(last.proxy.values())))",
        ("test_outcomes.py",),
    ),
    Mutation(
        "label reads later points",
        "stopping/conditions.py",
        'label(past.run, until=row["step"])',
        "label(past.run, until=10**9)",
        ("stopping/test_conditions.py",),
    ),
    Mutation(
        "proxy_alone reads later points",
        "stopping/conditions.py",
        "checkpoints(past.run, past.step)",
        "checkpoints(past.run)",
        ("stopping/test_conditions.py",),
    ),
    Mutation(
        "proxy_alone takes a best that comes later",
        "stopping/conditions.py",
        "max(points[: place + 1], ",
        "max(points, ",
        ("stopping/test_conditions.py",),
    ),
    Mutation(
        "significance of the truth in proxy_alone",
        "stopping/conditions.py",
        "truth.mean < -self.standard_errors * truth.se",
        "truth.mean < 0",
        ("stopping/test_conditions.py",),
    ),
    Mutation(
        "significance of the proxy in proxy_alone",
        "stopping/conditions.py",
        "proxy.mean > self.standard_errors * proxy.se",
        "proxy.mean > 0",
        ("stopping/test_conditions.py",),
    ),
    Mutation(
        "a condition asked where nothing was evaluated",
        "stopping/decide.py",
        'condition.at == "evaluation" and not past.evaluated()',
        "False",
        ("stopping/test_decide.py",),
    ),
    Mutation(
        "evaluated, before anything was",
        "stopping/past.py",
        'return bool(self.evaluations) and self.evaluations[-1]["step"] == self.step',
        'return not self.evaluations or self.evaluations[-1]["step"] == self.step',
        ("stopping/test_decide.py", "stopping/test_past.py"),
    ),
    Mutation(
        "go_back_to, for readers",
        "records/reader.py",
        'step is None and self.info.get("go_back_to") in steps',
        "False",
        ("records/test_reader.py",),
    ),
    Mutation(
        "sampled pairs in a parent's hash",
        "records/reader.py",
        'pairs.read_bytes() if pairs.exists() else b""',
        'b""',
        ("records/test_reader.py",),
    ),
    Mutation(
        "config.json in a parent's hash",
        "records/reader.py",
        ', *folder.glob("config.json")',
        "",
        ("records/test_reader.py",),
    ),
    Mutation(
        "ConfPO's mean over padding: counted",
        "objectives/pair_losses/confpo.py",
        "probability_PT.sum(1) / scored.len_P",
        "probability_PT.mean(1)",
        ("objectives/pair_losses/test_confpo.py",),
    ),
    Mutation(
        "ConfPO's mean over padding: summed",
        "objectives/pair_losses/confpo.py",
        "scored.logp_PT.detach().exp() * scored.mask_PT",
        "scored.logp_PT.detach().exp()",
        ("objectives/pair_losses/test_confpo.py",),
    ),
    Mutation(
        "the sampler's cumulative sum in double precision",
        "engine/sampler.py",
        "probability_RV.double().cumsum(-1)",
        "probability_RV.cumsum(-1).double()",
        ("engine/test_sampler.py",),
    ),
)


def copy_of_checkout(folder: Path) -> None:
    """What the tests need, and nothing that was generated."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)


def pytest(checkout: Path, tests: Sequence[str]) -> int:
    """Pytest's exit code: 0 all passed, 1 some failed, otherwise nothing was learned."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-W", "ignore"]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = [*command, *(f"tests/{test}" for test in tests)]
    return subprocess.run(arguments, cwd=checkout, env=environment, capture_output=True, check=False).returncode


def apply(text: str, mutation: Mutation) -> str | None:
    """The file's text with the change; None if what it replaces is not there exactly once."""
    return text.replace(mutation.old, mutation.new) if text.count(mutation.old) == 1 else None


def verdict(checkout: Path, mutation: Mutation) -> str:
    """Make one change, run its tests, and take the change back."""
    file = checkout / "src" / "overopt" / mutation.file
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    changed = apply(text, mutation)
    if changed is None:
        return "moved"
    file.write_text(changed, encoding="utf-8")
    try:
        return {0: "MISSED", 1: "caught"}.get(pytest(checkout, mutation.tests), "broken")
    finally:
        file.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="parts of the names of some; default: all")
    parser.add_argument("--table", type=Path, help="a Markdown table to write")
    arguments = parser.parse_args()
    chosen = [m for m in MUTATIONS if not arguments.names or any(name in m.name for name in arguments.names)]
    found: list[tuple[Mutation, str]] = []
    with TemporaryDirectory() as folder:
        checkout = Path(folder)
        copy_of_checkout(checkout)
        if pytest(checkout, sorted({test for m in chosen for test in m.tests})) != 0:
            print("without any change, a named test fails or is not there: run them by hand first", file=sys.stderr)
            return 1
        for mutation in chosen:
            found.append((mutation, verdict(checkout, mutation)))
            print(f"{found[-1][1]:8}{mutation.file}: {mutation.name}", flush=True)
    counts = Counter(result for _, result in found)
    total = f"{counts['caught']} of {len(found)} caught"
    print(total)
    if arguments.table:
        arguments.table.write_text(table(found, total), encoding="utf-8")
    return int(counts["caught"] < len(found))


def table(found: Sequence[tuple[Mutation, str]], total: str) -> str:
    """The results as Markdown."""
    rows = [f"| {m.name} | `{m.file}` | {', '.join(f'`{test}`' for test in m.tests)} | {r} |" for m, r in found]
    head = ["| change | in `src/overopt` | tests, in `tests` | |", "|---|---|---|---|"]
    about = "Changes of meaning that tests must notice, made one at a time by [mutations.py](mutations.py)."
    return "\n".join([f"# Mutations: {total}", "", about, "", *head, *rows, ""])


if __name__ == "__main__":
    sys.exit(main())
