"""The table of `overopt watch`: in a pipe, on a terminal, and with names that mean harm."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import Evaluated, online_run
from rich.console import Console

from overopt.analysis.run_status import RunStatus
from overopt.analysis.status_table import (
    ASCII_BARS,
    COLUMNS,
    cells,
    duration,
    live_table,
    most_urgent,
    plain_table,
    sparkline,
    summary,
    watch_runs,
)
from overopt.errors import UserError

GOING = RunStatus(
    "kl", "online", "running", 10, 20, silent=3.0, left=60.0, curve=(0.4, 0.8), curve_of="win rate",
    numbers={"win_rate": 0.8, "proxy": 0.5, "gold": -0.5, "kl_ref": 2.5},
)  # fmt: skip
STALLED = RunStatus("none", "online", "stalled", 3, 20, silent=7200.0, left=9.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_row() -> None:
    shown = dict(zip(COLUMNS, cells(GOING), strict=True))
    assert shown == {
        "run": "kl", "stage": "online", "status": "running", "step": "10/20", "left": "1 min", "win rate": "0.80",
        "proxy": "+0.50", "gold": "-0.50", "KL": "2.5", "curve": "▁█ win rate", "": "",
    }  # fmt: skip
    assert cells(STALLED)[-1] == "nothing written for 2.0 h"
    assert cells(STALLED)[4] == "-", "no time left is promised"
    assert cells(RunStatus("x"))[3:10] == ("-", "-", "-", "-", "-", "-", "")


def test_the_table_is_aligned_and_counts() -> None:
    lines = plain_table([GOING, STALLED]).splitlines()
    assert lines[0].index("status") == lines[1].index("running") == lines[2].index("stalled")
    assert lines[-1].endswith("  2 runs: 1 running, 1 stalled")
    assert summary([]).endswith("  0 runs yet")


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([], ""), ([1.0], "="), ([0, 7], ".@"), ([7, 0], "@."), ([float("nan"), 0, float("inf"), 1], ".@"),
        (list(range(8)), ASCII_BARS), ([0, 0, 7, 7], "..@@"), ([5.0] * 3, "==="),
    ],
)  # fmt: skip
def test_a_curve_in_one_line(values: list[float], shown: str) -> None:
    assert sparkline(values, ASCII_BARS) == shown


def test_a_long_curve_is_averaged() -> None:
    assert sparkline([0, 2, 6, 8], ASCII_BARS, width=2) == ".@"
    assert len(sparkline([float(i) for i in range(1000)])) == 16


@pytest.mark.parametrize(("seconds", "words"), [(59, "59 s"), (90, "2 min"), (7560, "2.1 h"), (302400, "3.5 d")])
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_nothing_in_a_record_acts(tmp_path: Path) -> None:
    hostile = "\x1b[31m[bold]red\x07\u202e\nnext\trow" + "x" * 100
    status = RunStatus(hostile, hostile, hostile, reason=hostile, curve_of="loss")
    for out in (plain_table([status]), _drawn([status])):
        assert not {"\x1b", "\x07", "\u202e"} & set(out)
        assert "[bold]red" in out
    assert len(plain_table([status]).splitlines()) == 4
    assert cells(status)[1].endswith("...")


def _drawn(statuses: list[RunStatus]) -> str:
    stream = io.StringIO()
    Console(file=stream, width=400).print(live_table(statuses, 400))
    return stream.getvalue()


def test_a_small_screen_shows_trouble_first() -> None:
    done, bad = RunStatus("done", status="finished"), RunStatus("bad", status="diverged")
    assert most_urgent([done, GOING, bad], 2) == [GOING, bad]
    assert most_urgent([done, GOING, bad], -3) == [bad]


def test_a_narrow_terminal_goes_without_some_columns() -> None:
    def shown(width: int) -> list[str]:
        return [str(column.header) for column in live_table([GOING, STALLED], width).columns]

    assert shown(80) == ["run", "status", "step", "left", "win rate", ""]
    assert shown(10) == ["run", "status", "step"]
    assert shown(200) == list(COLUMNS)


def test_it_looks_again_until_it_is_interrupted(tmp_path: Path) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        online_run(tmp_path / f"late-{len(slept)}", [Evaluated(0, 4)])
        if len(slept) == 3:
            raise KeyboardInterrupt

    plain, terminal = io.StringIO(), Terminal()
    watch_runs([tmp_path], every=5.0, stream=plain, sleep=sleep)
    assert slept == [5.0] * 3
    assert "0 runs yet" in plain.getvalue()
    assert "late-2" in plain.getvalue()
    assert "\x1b" not in plain.getvalue()
    slept.clear()
    for path in (tmp_path / f"late-{n}" for n in (1, 2, 3)):
        path.rename(tmp_path / f"old-{path.name}")
    watch_runs([tmp_path], stream=terminal, sleep=sleep)
    assert "old-late-1" in terminal.getvalue()


def test_once_in_a_folder_without_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no runs there"):
        watch_runs([tmp_path], once=True)


def test_through_a_pipe_that_closes_and_without_torch(tmp_path: Path) -> None:
    online_run(tmp_path / "kl")
    code = (
        "import sys\nfrom overopt.cli import main\n"
        "end = main(sys.argv[1:])\nsys.stderr.write(f\"{end} {'torch' in sys.modules}\")"
    )
    once = [sys.executable, "-c", code, "watch", str(tmp_path), "--once"]
    done = subprocess.run(
        once, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONUTF8": "0", "LC_ALL": "C"}
    )
    assert done.stderr == "0 False"
    assert done.stdout.splitlines()[1].split()[:4] == ["kl", "online", "finished", "20/20"]
    live = subprocess.Popen([*once[:-1], "--every", "0.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert live.stdout is not None and live.stderr is not None
    live.stdout.readline()
    live.stdout.close()
    assert live.stderr.read() == "141 False"
    assert live.wait(timeout=20) == 0
