from pathlib import Path

from overopt.records import layout


def test_a_judges_name_makes_one_file_name() -> None:
    assert layout.judge_file(Path("run"), "openai/gpt-4o-mini:j1") == Path(
        "run/evaluations/openai-gpt-4o-mini-j1.jsonl"
    )
    assert layout.judge_file(Path("run"), "../gold") == Path("run/evaluations/..-gold.jsonl")


def test_steps_are_sorted_as_numbers_and_unfinished_ones_left_out(tmp_path: Path) -> None:
    for name in ("step-100", "step-20", "step-3", ".step-40.partial", "step-x", "step-7.parquet"):
        (tmp_path / name).mkdir()
    assert layout.steps_in(tmp_path) == [3, 20, 100]
    assert layout.steps_in(tmp_path, ".parquet") == [7]
    assert layout.steps_in(tmp_path / "missing") == []
