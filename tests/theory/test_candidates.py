from __future__ import annotations

import pytest
import torch

from overopt.theory.candidates import TEMPERATURES, easy_bandit, random_policies, random_sets, worked_example


def test_random_sets_are_a_function_of_the_seed() -> None:
    first, again, other = random_sets(0), random_sets(0), random_sets(1)
    assert all(torch.equal(a.reward_N, b.reward_N) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].reward_N, other[0].reward_N)


def test_random_sets_are_of_all_kinds() -> None:
    sets = random_sets()
    assert {len(c.reward_N) for c in sets} == set(range(2, 9))
    assert {c.temperature for c in sets} == set(TEMPERATURES)
    for c in sets:
        assert c.length_N.unique().numel() > 1
        assert c.length_N.min() >= 1
        assert float(c.ref_logp_N.exp().sum()) == pytest.approx(1)
        assert c.reward_N.dtype == c.length_N.dtype == c.ref_logp_N.dtype == torch.float64


def test_pairs_are_all_pairs_once() -> None:
    first, second = easy_bandit().pairs
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    assert pairs == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


def test_the_worked_example_is_what_its_docstring_solves() -> None:
    c = worked_example()
    assert (c.length_N * c.reward_N).exp().tolist() == pytest.approx([1, 2])
    assert c.ref_logp_N.exp().tolist() == [0.5, 0.5]


def test_random_policies_are_far_and_near() -> None:
    center = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64).log()
    policies = random_policies(center, 4000)
    assert policies.shape == (4000, 3)
    assert policies.exp().sum(-1).tolist() == pytest.approx([1] * 4000)
    anywhere = policies[:2000].exp()
    assert anywhere.mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.02)
    assert anywhere.var(0).tolist() == pytest.approx([1 / 18] * 3, abs=0.005)  # of Dirichlet(1, 1, 1)
    distance = (policies[2000:] - center).abs().amax(-1)
    assert distance[0] < 1e-3 < 0.1 < distance[-100:].mean()
