import json
from pathlib import Path

import fake_sinks

from overopt.integrations.replay import Feed, follow, replay
from overopt.records import RunWriter


def test_rows_come_once_and_by_step(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path / "run", "stage: sft\n", {}) as writer:
        feed = Feed(writer.path)
        writer.log_evaluation({"step": 0, "judge": "gold", "split": "tuning", "win_rate": 0.5})
        writer.log_evaluation({"step": 0, "judge": "pairs", "split": "tuning", "accuracy": 0.75})
        writer.log(1, {"loss": 2.0, "grad_norm": float("nan")})
        writer.log_timings(1, {"elapsed": 3.0})
        assert list(feed.rows()) == [
            (0, {"evaluation/win_rate": 0.5, "pairs/accuracy": 0.75}),
            (1, {"train/loss": 2.0, "time/elapsed": 3.0}),
        ]
        assert list(feed.rows()) == []


def test_what_is_written_at_the_end_is_sent_too(tmp_path: Path) -> None:
    note = tmp_path / "note.jsonl"
    writer = RunWriter.create(tmp_path / "run", "stage: sft\n", {})
    writer.log(1, {"loss": 2.0})

    def ended(seconds: float) -> bool:
        writer.log(2, {"loss": 1.0})
        writer.finish("finished")
        return True

    sink = fake_sinks.Noting(file=str(note))
    assert follow(writer.path, sink, ended) == 2
    live = note.read_text()
    assert [json.loads(line) for line in live.splitlines()] == [
        [1, {"train/loss": 2.0}],
        [2, {"train/loss": 1.0}],
        "finished",
    ]
    note.unlink()
    assert replay(writer.path, sink) == 2
    assert note.read_text() == live
