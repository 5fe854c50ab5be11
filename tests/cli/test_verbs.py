"""The command line: verbs, flags, messages and exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_runs import BETTER, WORSE, online_run
from fake_study import finished_run
from judged_again import MODEL, judge_again
from synthetic_study import members, only, paper

import overopt
from overopt import cli
from overopt.cli import verbs
from overopt.records import RunLock
from overopt.replication.exchange import write_exchange
from overopt.scheduler import Result


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([Result("finished")], 0),
        ([Result("failed", "lr"), Result("skipped")], 2),
        ([Result("failed", "lr"), Result("failed", "oops", "Traceback")], 1),
    ],
)
def test_the_worst_run_decides(results: list[Result], code: int) -> None:
    assert verbs.worst_of(dict(enumerate(results))) == code  # type: ignore[arg-type]


def test_demo_end_to_end_in_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("overopt.studies.run.run_jobs", _with_fakes)
    out = tmp_path / "demo"
    assert cli.main(["demo", "--scale", "xs", "--seed", "1", "--out", str(out), "--workers", "1"]) == 0
    shown = capsys.readouterr()
    assert "kl                 kl" in shown.out
    assert "Over-optimized: the proxy went from" in shown.out
    assert f"figure: {out}/figure.svg and .png" in shown.out
    assert re.search(r"finished kl in \d+ s", shown.err)
    assert [row["run"] for row in json.loads((out / "summary.json").read_text())][:2] == ["kl", "none"]
    assert sorted(path.name for path in out.iterdir()) == [
        "figure.png", "figure.svg", "report.html", "report_figures", "runs", "study.json", "summary.json",
    ]  # fmt: skip
    assert f"\nreport: {out}/report.html\n" in shown.out
    assert "Miniature study, scale xs, seed 1" in (out / "report.html").read_text()

    with RunLock(out) as lock:
        lock.acquire()
        assert cli.main(["demo", "--scale", "xs", "--seed", "1", "--out", str(out)]) == 2
        assert "demo: another process is at work here" in capsys.readouterr().err
    assert cli.main(["demo", "--scale", "xs", "--seed", "2", "--out", str(out)]) == 2
    assert "was made with --scale xs --seed 1, not --scale xs --seed 2" in capsys.readouterr().err
    assert cli.main(["demo", "--scale", "xxl", "--out", str(tmp_path / "new")]) == 2
    assert "--scale xxl: no such scale; demo has s, xs, m" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


SWEEP = """\
seeds: [0, 1]
grid: {kl: {regularizers.0.coef: [0.1, 0.2]}}
runs:
  sft: {stage: sft, lr: 1e-3, steps: 5, model: {name: pretrained, path: base}}
  rm: {stage: reward_model, policy: runs/sft, lr: 1e-3}
  kl: {stage: online, policy: runs/sft, reward_model: runs/rm, lr: 1e-4, total_episodes: 6400, regularizers: [kl]}
"""


def test_sweep_end_to_end_in_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("overopt.studies.run.run_jobs", _with_fakes)
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SWEEP)
    assert cli.main(["sweep", "small.yaml", "--only", "kl*seed=1", "--workers", "1"]) == 0
    shown = capsys.readouterr()
    assert "4 of 8 runs, 1 at a time; 4 to do, about " in shown.err
    assert " of CPU time), in overopt-sweep/small" in shown.err
    assert shown.out.startswith("small\n")
    assert "kl-coef=0.1-seed=1  kl         0.1" in shown.out
    assert "\n4 finished; summary: overopt-sweep/small/summary.json\n" in shown.out
    assert "report: overopt-sweep/small/report.html\n" in shown.out
    folders = sorted(path.name for path in Path("overopt-sweep/small/runs").iterdir())
    assert folders == ["kl-coef=0.1-seed=1", "kl-coef=0.2-seed=1", "rm-seed=1", "sft-seed=1"]

    with RunLock(Path("overopt-sweep/small")) as lock:
        lock.acquire()
        assert cli.main(["sweep", "small.yaml"]) == 2
        assert "small: another process is at work here" in capsys.readouterr().err

    Path("small.yaml").write_text(SWEEP.replace("[0, 1]", "[1, 13]"))
    assert cli.main(["sweep", "small.yaml"]) == 2, "the fake reward model refuses seed 13"
    shown = capsys.readouterr()
    assert "sft-seed=1: finished already, left alone" in shown.err
    assert "5 finished, 1 failed, 2 skipped" in shown.out
    assert cli.main(["watch", "overopt-sweep", "--once"]) == 0
    assert "5 runs: 5 finished" in capsys.readouterr().out

    for wrong, message in {
        SWEEP.replace("coef: [", "coeff: ["): "small.yaml:2: grid.kl.regularizers.0.coeff: unknown key (did you mean",
        SWEEP.replace("[0.1, 0.2]", "[]"): "grid.kl.regularizers.0.coef: is empty; give it values, or remove it",
    }.items():
        Path("small.yaml").write_text(wrong)
        assert cli.main(["sweep", "small.yaml", "--out", "new"]) == 2
        assert message in capsys.readouterr().err
    assert not Path("new").exists()


def _with_fakes(jobs: Any, **options: Any) -> dict[str, Result]:
    from overopt.scheduler import run_jobs

    return run_jobs(jobs, **options | {"train": "fake_study:train", "executor": None})


def test_train_passes_settings_on_and_says_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import overopt.training.train as training
    from overopt.training.run.progress import Progress

    def train(config: Path, out: Path, overrides: list[tuple[str, str]], progress: Any, notice: Any) -> Any:
        assert (config, overrides) == (Path("kl.yaml"), [("lr", "1e-3"), ("loss.clip", "0.1")])
        notice("started again")
        progress(Progress("online", 1, 1, {"score_mean": 0.5}))
        return finished_run(out, wins=32, proxy=1.0)

    monkeypatch.setattr(training, "train", train)
    out = tmp_path / "kl"
    assert cli.main(["train", "kl.yaml", "--lr", "1e-3", "--loss.clip", "0.1", "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{out}: finished; step 80  win_rate 0.8  proxy_mean 1  gold_mean -1  kl_ref 2\n"
    assert "kl: started again" in shown.err


def test_evaluate_prints_a_table_of_all_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from overopt.evaluation.reevaluation import Reevaluation

    runs = [online_run(tmp_path / "runs" / name) for name in ("kl", "none")]
    checked: list[Path] = []

    def run(self: Reevaluation, path: Path, progress: Any, notice: Any) -> list[dict[str, Any]]:
        assert checked == runs  # all, before the first is judged
        assert (self.split, self.against, self.checkpoints, self.limits) == (
            "test",
            tmp_path / "sft",
            [0, 80],
            [53, 128],
        )
        assert type(self.judge).__name__ == "Gold"
        progress(1, 1)
        row = {"step": 80, "split": "test", "judge": "gold", "judge_hash": "abc", "prompt_set": "x", "against": "sft"}
        return [row | {"win_rate": 0.75, "n": 4}]

    monkeypatch.setattr(Reevaluation, "identify", lambda self, paths: checked.extend(paths))
    monkeypatch.setattr(Reevaluation, "run", run)
    flags = ["--judge", "gold", "--split", "test", "--against", str(tmp_path / "sft"), "--checkpoints", "0,80"]
    flags += ["--max-completion-tokens", "53,128"]
    assert cli.main(["evaluate", str(tmp_path / "runs"), *flags]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "judge gold (hash abc), against sft, test prompts (set x)",
        "run   step  n  win rate",
        "-----------------------",
        "kl      80  4     0.750",
        "none    80  4     0.750",
    ]


def test_evaluate_prints_the_labels_by_each_judge(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from overopt.evaluation.reevaluation import Reevaluation

    online_run(tmp_path / "kl")

    def run(self: Reevaluation, path: Path, progress: Any, notice: Any) -> list[dict[str, Any]]:
        judge_again(path, {0: [1.0] * 10, 20: [0.0] * 10})
        return [{"step": 20, "split": "tuning", "judge": MODEL, "judge_hash": "abc", "prompt_set": "x", "against": "r"}]

    monkeypatch.setattr(Reevaluation, "identify", lambda self, paths: None)
    monkeypatch.setattr(Reevaluation, "run", run)
    assert cli.main(["evaluate", str(tmp_path / "kl")]) == 0
    *_, head, _, row, empty, said = capsys.readouterr().out.splitlines()
    assert head.split("  ")[1] == "outcome by gold" and row.split()[:3] == ["kl", "GOOD", "OVER"]
    assert (empty, said) == ("", f"gold and {MODEL} disagree on 1 of 1 run: kl (GOOD against OVER).")


def test_report_writes_a_page_and_figures_and_names_what_it_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    online_run(tmp_path / "runs/kl")
    (online_run(tmp_path / "runs/bad") / "samples/step-20.parquet").write_bytes(b"PAR1")
    out = tmp_path / "a.html"
    assert cli.main(["report", str(tmp_path / "runs"), "-o", str(out), "--figures", "curves,kl"]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"report: {out} (1 run)\nfigures: 2 in {tmp_path / 'a_figures'}\n"
    assert f"overopt: left out: {tmp_path / 'runs/bad/samples/step-20.parquet'}: cannot be read as Par" in shown.err
    assert out.is_file()

    assert cli.main(["report", str(tmp_path / "runs/bad"), "-o", str(out)]) == 2
    assert "no run to report on; looked in" in capsys.readouterr().err
    assert cli.main(["report", str(tmp_path / "runs"), "--figures", "curvs"]) == 2
    assert "--figures curvs: no such figure; there are seeds, curves" in capsys.readouterr().err
    assert cli.main(["report", str(tmp_path / "runs"), "-o", str(out), "--format", "svg", "--figures", "offline"]) == 0
    assert capsys.readouterr().out == "report: 1 run\nfigures: none, the runs have no numbers for them\n"


def test_report_serves_the_page_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    online_run(tmp_path / "kl")

    def serve(make_page: Any, say: Any) -> None:
        online_run(tmp_path / "a later one")
        say("a later one" in make_page())

    monkeypatch.setattr("overopt.analysis.report.serve.serve", serve)
    assert cli.main(["report", str(tmp_path), "--serve", "--figures", "curves"]) == 0
    assert capsys.readouterr().out == "True\n"


def test_report_imports_no_torch(tmp_path: Path) -> None:
    online_run(tmp_path / "kl")
    code = (
        "import sys; from overopt.cli import main; code = main(); "
        "sys.exit(9 if {'torch', 'transformers'} & set(sys.modules) else code)"
    )
    command = [sys.executable, "-c", code, "report", str(tmp_path), "-o", str(tmp_path / "a.html"), "--figures", "kl"]
    assert subprocess.run(command, check=False).returncode == 0


def test_best_of_n_prints_a_table_and_draws_a_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    candidates = [{"text": "t", "proxy": 1, "gold": 0}, {"text": "u", "proxy": 2, "gold": 1}]
    lines = [json.dumps({"prompt": prompt, "candidates": candidates}) for prompt in ("a", "b")]
    (tmp_path / "set.jsonl").write_text("\n".join(lines))
    assert cli.main(["best-of-n", "set.jsonl"]) == 0
    shown = capsys.readouterr().out
    assert "\n2  0.193  2.000 [2.000, 2.000]  1.000 [1.000, 1.000]  1.000  <- peak\n" in shown
    assert shown.endswith("\nfigure: best-of-n-set.svg\n")
    assert (tmp_path / "best-of-n-set.svg").read_text().startswith("<svg")

    assert cli.main(["best-of-n", "set.jsonl", "-o", "a.png", "--format", "pdf"]) == 2
    assert cli.main(["best-of-n", "set.jsonl", "--rouge", "rouge1-f1"]) == 2
    (tmp_path / "set.jsonl").write_text("\n".join([lines[0], lines[1].replace("1}", '"high"}')]))
    assert cli.main(["best-of-n", "set.jsonl", "-o", "b.svg"]) == 2
    assert 'set.jsonl:2: candidates[1]: gold: expected a number, got "high"' in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-of-n-set.svg", "set.jsonl"]


def test_best_of_n_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    finished_run(tmp_path / "runs/maxent-0.5", wins=32, proxy=1.0)
    finished_run(tmp_path / "runs/none", wins=2, proxy=3.0)
    assert cli.main(["best-of-n", "runs/maxent-0.5", "runs/none"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Best of n by reward model: maxent-0.5 and 1 more, 40 prompts\n\nn  proxy (95 %)")
    assert "\nNote: 4 checkpoints of maxent-0.5, none; split tuning, judge gold.\n" in shown
    assert (tmp_path / "best-of-n-maxent-0.5.svg").is_file()


def test_best_of_n_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from overopt.cli import main; code = main(); sys.exit(code if 'torch' not in sys.modules else 9)"
    )
    data = Path(__file__).parents[2] / "examples/data/realsumm_excerpt.jsonl"
    command = [sys.executable, "-c", code, "best-of-n", str(data), "-o", str(tmp_path / "a.svg")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "No KL: a document's candidates come from different systems" in done.stdout


def test_theory_prints_a_row_per_part_and_fails_if_one_does_not_hold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from overopt.theory import statements
    from overopt.theory.checks import Check

    assert cli.main(["theory", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(list(row) == ["id", "statement", "holds", "residual", "tolerance"] for row in rows)
    assert [row["holds"] for row in rows] == [True] * len(rows) and rows[-1]["id"] == "T16.c"
    assert cli.main(["theory"]) == 0
    assert capsys.readouterr().out.endswith(f"\nall {len(rows)} hold\n")

    monkeypatch.setattr(statements, "verify", lambda: [Check("T1", "one is two", 1.0, 1e-12)])
    assert cli.main(["theory"]) == 1
    assert capsys.readouterr().out.endswith("1 of 1 do not hold: T1\n")
    assert cli.main(["theory", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["residual"] == 1.0


def test_power_by_numbers_and_from_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A base of .5 and a difference of .1 leave half of the prompts to one run alone: .5 - .01 - .0025."""
    assert cli.main(["power", "--difference", "0.1", "--sd", "0.05", "--seeds", "2,4", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(case["seeds"], case["prompts"]) for case in rows["cases"]] == [(2, 256), (4, 256)]
    assert rows["sd_prompts"] == pytest.approx(0.4875**0.5)

    for seed in (0, 1):
        online_run(tmp_path / "runs" / f"kl-{seed}", BETTER)
        online_run(tmp_path / "runs" / f"none-{seed}", WORSE)
    entries = {f"{row}-{seed}": {"row": row, "setting": {}, "seed": seed} for row in ("kl", "none") for seed in (0, 1)}
    plan = {"study": "s", "scale": "miniature", "runs": entries}
    (tmp_path / "members.json").write_text(json.dumps(plan))
    study = ["power", "--study", str(tmp_path), "--runs", "none"]
    assert cli.main([*study, "kl"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("none against kl, over 2 seeds\nmeasured: -1.000 from a win rate of 1.000;")
    assert cli.main([*study, "--difference", "-0.2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert (rows["measured"]["difference"], rows["difference"], rows["cases"][0]["prompts"]) == (-0.4, -0.2, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sd", "0.1"], "give --difference and --sd; or --study DIR and --runs, which measures both"),
        (["--difference", "0.1"], "give --difference and --sd"),
        (["--difference", "0.1", "--sd", "0.1", "--runs", "a"], "give --difference and --sd"),
        (["--study", ".", "--sd", "0.1"], "--study measures --sd; leave out the one or the other"),
        (["--study", "."], "--study needs one or two --runs"),
        (["--study", ".", "--runs", "a", "b", "c"], "--study needs one or two --runs"),
        (["--difference", "0.1", "--sd", "0.1", "--base", "1.5"], "a base win rate of 1.5"),
    ],
)
def test_power_asks_for_what_it_needs(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["power", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_objectives_are_listed_shown_and_given_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["objectives"]) == 0
    listed = capsys.readouterr().out
    assert cli.main(["objectives", "simpo"]) == 0
    shown = capsys.readouterr().out
    assert cli.main(["objectives", "--json", "simpo"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert set(row) == {"name", "kind", "formula", "fields", "needs", "source", "elsewhere"}
    assert row["formula"] in shown and f"  simpo                      {row['formula']}\n" in listed
    assert cli.main(["objectives", "--json"]) == 0
    assert row in json.loads(capsys.readouterr().out)


def test_a_misspelt_objective_is_the_users_to_mend(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["objectives", "simop"]) == 2
    assert "no objective is called 'simop' (did you mean 'simpo'?" in capsys.readouterr().err


def test_log_sends_a_run_to_a_sink_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from overopt.records import RunWriter

    note = tmp_path / "note.jsonl"
    with RunWriter.create(tmp_path / "run", "stage: sft\n", {}) as writer:
        writer.log(1, {"loss": 2.0})
        writer.finish("finished")
    sink = f"{{name: 'fake_sinks:Noting', file: {note}}}"
    assert cli.main(["log", str(tmp_path / "run"), "--sink", sink]) == 0
    assert capsys.readouterr().out.endswith("run: 1 steps sent to Noting\n")
    assert note.read_text() == '[1, {"train/loss": 2.0}]\n"finished"\n'
    assert cli.main(["log", str(tmp_path / "run"), "--sink", "tensorbord"]) == 2
    assert "tensorboard" in capsys.readouterr().err


def test_a_stage_and_a_study_are_planned_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = tmp_path / "sft.yaml"
    stage.write_text("stage: sft\nmodel: {name: scratch, hidden_size: 32}\nsteps: 5\n")
    assert cli.main(["plan", str(stage), "--json", "--device", "a100", "--steps", "9", "--price", "2"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["steps"], row["cost"]) == ("sft", 9, 2 * row["hours"])
    study = Path(overopt.__file__).parent / "studies" / "demo.yaml"
    assert cli.main(["plan", str(study), "--scale", "m", "--device", "t4"]) == 0
    shown = capsys.readouterr().out
    assert "kl: stage online, 6" in shown and "sum: 9 stages" in shown
    assert cli.main(["plan", str(stage), "--device", "abacus"]) == 2


def test_a_stage_and_a_study_are_shown_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = tmp_path / "sft.yaml"
    stage.write_text("stage: sft\nmodel: {name: scratch, hidden_size: 32}\n")
    assert cli.main(["show", str(stage), "--json", "--samples", "1", "--loss_on_prompt", "false"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["names"], row["what"], len(row["samples"])) == (["sft"], "demonstrations", 1)
    assert {piece["mark"] for piece in row["samples"][0]["parts"][0]["pieces"]} == {""}
    study = Path(overopt.__file__).parent / "studies" / "demo.yaml"
    assert cli.main(["show", str(study), "--scale", "xs", "--only", "kl"]) == 0
    assert "kl: stage online, 3 of" in capsys.readouterr().out


def test_claims_of_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("overopt.theory.statements.verify", list)
    write_exchange(members(only(paper(), ["KL-1B"]), (100,)), tmp_path / "study")
    assert cli.main(["claims", str(tmp_path / "study"), "--json"]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
    assert len([name for name in rows if "." not in name]) == 44
    assert (rows["C18"]["verdict"], rows["C17"]["verdict"]) == ("replicated", "not tested")
    assert rows["C24.1B"]["verdict"] == "replicated"

    assert cli.main(["claims", str(tmp_path / "study"), "--shape.half", "0.999"]) == 0
    shown = capsys.readouterr().out
    assert f"The claims of the paper, tested on {tmp_path / 'study'}" in shown
    assert re.search(r"C24.1B +inconclusive", shown)

    assert cli.main(["claims", str(tmp_path / "study"), "--judge", "m"]) == 2
    assert "has the outcomes by the runs' own judges; name the study's folder" in capsys.readouterr().err
    assert cli.main(["claims", str(tmp_path / "study"), "--judge", "m", "--export", str(tmp_path / "e")]) == 2
    assert "leave --judge out" in capsys.readouterr().err


def test_claims_are_published_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("overopt.theory.statements.verify", list)
    study = replace(members(only(paper(), ["KL-1B"]), (100,)), study="maxent-failure-modes")
    write_exchange(study, tmp_path / "study")
    assert cli.main(["claims", str(tmp_path / "study"), "--export", str(tmp_path / "published")]) == 0
    assert f"claims: 43 not tested, 1 replicated; overopt claims {tmp_path / 'published'}" in capsys.readouterr().out
    assert cli.main(["claims", str(tmp_path / "published"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "published" / "claims.json").read_bytes())


def test_claims_of_what_is_no_study(tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["claims", str(tmp_path)]) == 2
    assert "holds no members.json" in capsys.readouterr().err
    assert cli.main(["claims", str(tmp_path), "--trend.tua", "1"]) == 2
    assert "--trend.tua: unknown key (did you mean 'tau'? valid: tau, p)" in capsys.readouterr().err
    assert cli.main(["claims", str(tmp_path / "none")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_study_end_to_end_in_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("overopt.studies.run.run_jobs", _with_fakes)
    monkeypatch.chdir(tmp_path)
    demo = ["study", "demo", "--scale-set", "xs", "--seeds", "3..4", "--only", "kl", "--workers", "1"]
    assert cli.main(demo) == 0
    shown = capsys.readouterr()
    assert "Miniature study, xs: 6 of 18 runs, 1 at a time; 6 to do, about " in shown.err
    assert shown.out.startswith("6 finished\n")
    plan = json.loads(Path("overopt-demo/xs/members.json").read_text())
    assert {key: plan["runs"]["kl-seed=4"][key] for key in ("row", "setting", "seed")} == {
        "row": "kl", "setting": {}, "seed": 4
    }  # fmt: skip
    assert cli.main(["study", "demo", "--quick", "--scale-set", "xs"]) == 2
    assert "--quick: is a scale set of its own" in capsys.readouterr().err
    assert cli.main(["study"]) == 0
    assert "maxent-failure-modes" in capsys.readouterr().out


def test_convert_says_what_it_wrote_and_does_nothing_twice(tmp_path: Path, capsys: Any) -> None:
    import tiny
    import torch

    policy, old, new = tiny.policy(), tmp_path / "old", tmp_path / "new"
    policy.save(old)
    (old / "model.safetensors").unlink()
    assert cli.main(["convert", str(old), str(new)]) == 2
    assert "has no pickled weights" in capsys.readouterr().err
    torch.save(policy.model.state_dict(), old / "pytorch_model.bin")
    assert cli.main(["convert", str(old), str(new)]) == 0
    count = len(policy.model.state_dict())
    assert capsys.readouterr().out == f"{new}: {count} tensors, 0.00 GB in 1 files\n"
    assert cli.main(["convert", str(old), str(new)]) == 0
    assert capsys.readouterr().out == f"{new}: was made from this model before; nothing to do\n"


def test_convert_by_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    import tiny
    import torch

    from hub import LoopbackHub, connected

    policy = tiny.policy()
    policy.save(tmp_path / "old")
    (tmp_path / "old" / "model.safetensors").unlink()
    torch.save(policy.model.state_dict(), tmp_path / "old" / "pytorch_model.bin")
    with LoopbackHub() as hub:
        commit = hub.add("model", "maker/old", tmp_path / "old")
        connected(monkeypatch, hub, tmp_path / "cache")
        new = tmp_path / "new"
        assert cli.main(["convert", "maker/old", str(new)]) == 0
        assert cli.main(["convert", f"hf://maker/old@{commit}", str(new)]) == 0
        assert capsys.readouterr().out.splitlines()[1] == f"{new}: was made from this model before; nothing to do"
        assert json.loads((new / "converted.json").read_text())["source"] == f"hf://maker/old@{commit}"
        assert cli.main(["convert", "maker/none", str(tmp_path / "none")]) == 2
    assert "no model of this name is on the Hub" in capsys.readouterr().err


def test_push_and_begin_from_what_was_pushed(
    chain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    import torch

    from hub import LoopbackHub, connected
    from overopt.models.load import load_policy, model_folder

    with LoopbackHub("hf_planted_1234567890") as hub:
        connected(monkeypatch, hub, tmp_path / "cache", hub.token)
        assert cli.main(["push", str(chain.policy), "owner/mine"]) == 0
        parent = capsys.readouterr().out.strip().rpartition(" ")[2]
        ours, theirs = (load_policy(model_folder(str(where)), torch.device("cpu"))
                        for where in (overopt.load_run(chain.policy).checkpoint(), parent))  # fmt: skip
        written = hub.files("model", "owner/mine")
        assert cli.main(["push", str(chain.policy.parent / "nowhere"), "owner/mine"]) == 2
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert {"README.md", "overopt.yaml", "config.json", "model.safetensors", "tokenizer.json"} <= written.keys()
    for path, content in written.items():
        assert b"planted" not in content and str(chain.policy.parent).encode() not in content, path
