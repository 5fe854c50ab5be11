import pytest
from figure_studies import offline, run, study

from overopt.replication.figures.margins import draw_figure_4


def _dpo(values: list[float], seed: int = 0) -> object:
    return run("DPO-1B", {}, seed, offline() | {"ref_margin": values}, config={"loss": {"name": "dpo", "beta": 0.05}})


def test_figure_4_has_the_batches_their_band_and_the_mean_over_seeds() -> None:
    first, second = [-2.0 + 0.2 * place for place in range(20)], [-1.0] * 20
    figure = draw_figure_4(study([_dpo(first), _dpo(second, 1), _dpo(second, 2)]))  # type: ignore[list-item]
    assert figure is not None
    data = figure.blocks[0].panels[0].data
    assert data["figure-4-batches"]["y"] == pytest.approx(first)
    assert (
        data["figure-4-lines"]["y"][0] == pytest.approx(-4 / 3, rel=1e-5)
        and data["figure-4-lines"]["seeds"] == [3] * 20
    )
    pooled = sorted([*first, *second, *second])  # 5 % of the way from 0 to 59 is at 2.95, between the third and fourth
    low = pooled[2] + 0.95 * (pooled[3] - pooled[2])
    assert data["figure-4-region"]["low"] == pytest.approx([low], rel=1e-5)
    layers = figure.blocks[0].panels[0].spec["layer"]
    assert [layer["data"]["name"] for layer in layers] == [
        "figure-4-region", "figure-4-batches", "figure-4-bands", "figure-4-lines",
    ]  # fmt: skip


def test_figure_4_sets_the_margin_beside_simpos() -> None:
    simpo = [run("SIMPO-1B-2e-7", {"gamma": gamma}, config={"loss": {"alpha": 2.0}}) for gamma in (0.0, 1.0)]
    figure = draw_figure_4(study([_dpo([-1.5, -0.5] * 10), *simpo]))  # type: ignore[list-item]
    assert figure is not None
    assert figure.shows == (
        "The batch means have a mean of -1.00 nats (negative) and 90 % of them lie between -1.50 and -0.50; the margin"
        " ends higher than it starts in 1 of 1 runs (significantly: 0 up, 0 down); within DPO's sigmoid that is"
        " β m = -0.050; per token of a chosen completion -0.100 nats; SimPO subtracts γ of 0, 1 (γ/α up to 0.5 nats per"
        " token)."
    )


def test_without_margins_there_is_no_figure() -> None:
    assert draw_figure_4(study([run("DPO-1B", series=offline())])) is None
    assert draw_figure_4(study([])) is None
