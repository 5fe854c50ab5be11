"""Consoles as they come: another encoding, a reader that goes away, a full disk, closed streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import online_run

from overopt.cli import streams
from overopt.records import load_run

MAIN = "import sys; from overopt.cli import main; sys.exit(main())"
VERB = """
import os, sys
from overopt import cli
from overopt.cli import verbs
def verb(options):
    {body}
    return 0
verbs.theory = verb
sys.exit(cli.main(["theory"]))
"""


def shell(body: str, redirection: str, **environment: str) -> tuple[int, str, str]:
    """The exit code, the output and the errors of a verb that does `body`, under a shell's redirection."""
    command = f'"$0" -c "$1" {redirection}'
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command, sys.executable, VERB.format(body=body)],
        capture_output=True,
        env={"PYTHONPATH": ":".join(sys.path), **environment},
        check=False,
    )
    return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii"])
def test_what_a_console_cannot_say_is_escaped(encoding: str) -> None:
    body = r"print('out/\u65e5\u672c'); print('\u03c0', file=sys.stderr)"
    assert shell(body, "", PYTHONIOENCODING=encoding) == (0, "out/\\u65e5\\u672c\n", "\\u03c0\n")


@pytest.mark.parametrize("size", [10, 1_000_000])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_has_gone_is_no_fault_of_ours(stream: str, size: int) -> None:
    """Of little text the loss is noticed at the end, of much in the middle."""
    body = f"import time; time.sleep(0.1); print('x' * {size}, file=sys.{stream})"
    assert shell(body, "2>&1 | true") == (streams.READER_GONE, "", "")


def test_help_for_a_reader_that_has_gone() -> None:
    command = f'"$0" -c "import time; time.sleep(0.1); {MAIN}" --help | true'
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command, sys.executable], capture_output=True, check=False)
    assert done.returncode in (0, streams.READER_GONE) and done.stderr == b""  # argparse may have swallowed it


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_full_disk_is_the_users_to_mend(size: int) -> None:
    code, _, said = shell(f"print('x' * {size})", "> /dev/full")
    assert code == 2
    assert said.strip() == ("overopt: what it prints cannot be written (No space left on device); its records are kept")


def test_another_broken_pipe_is_a_fault_of_ours() -> None:
    code, _, said = shell("raise BrokenPipeError(32, 'of a socket')", "")
    assert code == 1 and "of a socket" in said


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    """Else what is printed would be written into the next file that is opened."""
    record = tmp_path / "record"
    body = f"file = os.open({str(record)!r}, os.O_WRONLY | os.O_CREAT); print('x'); os.write(2, b'y')"
    body += "; os.write(file, b'1')"
    assert shell(body, "<&- >&- 2>&-") == (0, "", "")
    assert record.read_bytes() == b"1"


def without_reader(*arguments: str, stderr_too: bool = False) -> tuple[int, str]:
    """The exit code and the errors of a command whose output nobody has read from the start."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, *arguments],
            stdout=write,
            stderr=write if stderr_too else subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(write)
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize("verb", ["objectives --json", "watch {runs} --once", "report {runs} -o {out}"])
def test_every_verb_is_silent_without_a_reader(verb: str, tmp_path: Path) -> None:
    online_run(tmp_path / "runs" / "kl")
    places = {"runs": tmp_path / "runs", "out": tmp_path / "report.html"}
    assert without_reader(*verb.format(**places).split()) == (streams.READER_GONE, "")
    assert (tmp_path / "report.html").exists() == verb.startswith("report")


def test_a_run_ends_although_nobody_reads_its_progress(tmp_path: Path) -> None:
    config = "stage: sft\nmodel: {name: scratch, hidden_size: 8, layers: 1, heads: 1}\nsteps: 1\nbatch_size: 2\n"
    (tmp_path / "sft.yaml").write_text(config)
    arguments = ("train", str(tmp_path / "sft.yaml"), "--out", str(tmp_path / "run"))
    assert without_reader(*arguments, stderr_too=True)[0] == streams.READER_GONE
    assert load_run(tmp_path / "run").status == "finished"


@pytest.mark.parametrize(
    "body",
    [
        "from rich.console import Console; Console().print('x')",
        "from overopt.config import calling_user_code\n    with calling_user_code('mine:f'): print('x' * 1_000_000)",
    ],
    ids=["rich leaves with exit code 1", "a print of the user's code"],
)
def test_a_broken_pipe_by_way_of_others(body: str) -> None:
    assert shell(f"import time; time.sleep(0.1)\n    {body}", "| true") == (streams.READER_GONE, "", "")


def test_nothing_is_added_to_a_stream_that_is_in_order() -> None:
    body = "import time; time.sleep(0.1); print('one'); print('x' * 1_000_000, file=sys.stderr)"
    assert shell(body, "2> >(true)") == (streams.READER_GONE, "one\n", "")
