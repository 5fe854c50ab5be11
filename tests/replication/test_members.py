from overopt.outcomes import Outcome
from overopt.replication.members import Member, Members, size_of


def test_the_size_is_part_of_a_rows_name() -> None:
    assert size_of("ME-2.8B-1e-7") == "2.8B"
    assert size_of("SFT-1B") == "1B"
    assert size_of("demo") is None


def _run(row: str, setting: dict[str, float | str], seed: int) -> Member:
    return Member(f"{row}-{setting}-{seed}", row, setting, seed, "online", "finished", {"lr": 1e-3}, Outcome(None, ""))


def test_runs_of_a_row_by_setting_and_seed() -> None:
    runs = tuple(_run("ME-1B-1e-6", {"coef": coef}, seed) for seed in (101, 100) for coef in (0.5, 0.0))
    study = Members("s", "miniature", runs, tuple((r.row, r.setting, r.seed) for r in runs))
    assert [(r.setting["coef"], r.seed) for r in study.of("ME-1B-1e-6")] == [(0, 100), (0, 101), (0.5, 100), (0.5, 101)]
    assert [r.seed for r in study.of("ME-1B-1e-6", coef=0.5)] == [100, 101]
    assert study.values("ME-1B-1e-6", "coef") == [0.0, 0.5]
    assert [r.seed for r in study.of_seed(101).runs] == [101, 101] and study.seeds == (100, 101)
