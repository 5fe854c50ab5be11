"""Processes that work together: each its share, all the whole."""

from __future__ import annotations

import pytest
import torch
from joined import results, together
from torch import nn

from overopt.engine import ranks
from overopt.errors import ConfigError, DivergedError, StoppedError, UserError


def test_a_process_alone_has_everything() -> None:
    assert (ranks.count(), ranks.rank(), ranks.is_main(), ranks.several()) == (1, 0, True, False)
    assert ranks.share([1, 2, 3]) == [1, 2, 3]
    assert ranks.gather("a") == ["a"]
    assert ranks.concatenated([1, 2]) == [1, 2]
    assert ranks.total(2.5) == 2.5
    assert ranks.on_main(lambda: 7) == 7


@pytest.mark.parametrize("count", [2, 3])
def test_shares_are_consecutive_and_put_together_again(count: int) -> None:
    def work() -> object:
        own = ranks.share(range(7))
        rows = torch.tensor([[float(i), 10.0 * i] for i in own]).reshape(-1, 2)
        return len(own), ranks.concatenated(list(own)), ranks.gathered_rows(rows).tolist(), ranks.total(len(own))

    found = results(count, work)
    assert [one[0] for one in found] == {2: [3, 4], 3: [2, 2, 3]}[count]
    whole = (list(range(7)), [[float(i), 10.0 * i] for i in range(7)], 7)
    assert [one[1:] for one in found] == [whole] * count


def test_gradients_are_summed_not_averaged_and_a_missing_one_counts_as_zero() -> None:
    def work() -> object:
        parameters = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2))]
        parameters[0].grad = torch.full((3,), float(ranks.rank() + 1))
        if ranks.rank() == 1:
            parameters[1].grad = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        ranks.sum_gradients(parameters)
        return [p.grad.tolist() for p in parameters if p.grad is not None]

    expected = [[3.0] * 3, [[1.0, 2.0], [3.0, 4.0]]]
    assert results(2, work) == [expected, expected]


def test_gradients_of_any_size_go_through_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "BUCKET", 40)

    def work() -> object:
        parameters = [nn.Parameter(torch.zeros(size)) for size in (3, 20, 1, 4)]
        for i, parameter in enumerate(parameters):
            parameter.grad = torch.full_like(parameter, float(i + 10 * ranks.rank()))
        ranks.sum_gradients(parameters)
        return [p.grad.tolist() for p in parameters if p.grad is not None]

    assert results(2, work)[1] == [[10.0] * 3, [12.0] * 20, [14.0], [16.0] * 4]


@pytest.mark.parametrize(
    "error",
    [
        UserError("no such file"),
        ConfigError(["a: wrong", "b: wrong"]),
        DivergedError(3, "loss is nan"),
        StoppedError(4, "label", "OVER", 2),
    ],
)
def test_an_error_of_the_main_process_is_raised_in_all(error: Exception) -> None:
    def work() -> object:
        def fail() -> None:
            raise error

        return ranks.on_main(fail) if ranks.is_main() else ranks.on_main(lambda: None)

    ended = together(2, work)
    assert [(type(one.error), str(one.error)) for one in ended] == [(type(error), str(error))] * 2
    assert vars(ended[1].error) == vars(error)


def test_an_error_that_cannot_be_sent_is_told_in_words() -> None:
    class Own(Exception):
        def __init__(self, first: int, second: int) -> None:
            super().__init__(f"{first} and {second}")

    def work() -> object:
        def fail() -> None:
            raise Own(1, 2)

        return ranks.on_main(fail)

    assert str(together(2, work)[1].error) == "Own: 1 and 2"


def test_the_main_process_alone_cannot_wait_for_the_others() -> None:
    ended = together(2, lambda: ranks.on_main(lambda: ranks.total(1.0)))
    assert ["asks for the other processes" in str(one.error) for one in ended] == [True, True]


def test_processes_that_do_not_find_each_other_are_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(UserError, match=r"WORLD_SIZE is 2.*torchrun --nproc-per-node"), ranks.joined():
        pass
