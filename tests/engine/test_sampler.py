from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import EOS, Table, tiny_policy

from overopt.engine.head import logps_of_trees
from overopt.engine.packing import Tree
from overopt.engine.sampler import DrawKey, Samples, choose, sample, sample_in_batches
from overopt.models.policy import Policy

KEY = DrawKey(seed=0, purpose="test", step=3)
PROMPTS = [[2, 3, 4, 5, 6], [7], [8, 9, 10], [11, 12], [13, 3, 3, 3, 3, 3, 3], [14, 2]]
IDS = [f"prompt {i}" for i in range(len(PROMPTS))]


@pytest.fixture(scope="module", params=["gpt_neox", "llama"])
def policy(request: pytest.FixtureRequest) -> Policy:
    return tiny_policy(request.param)


def draw(
    model: Policy | Table,
    which: list[int] | None = None,
    group_size: int = 3,
    temperature: float = 1.0,
    max_tokens: int = 12,
    key: DrawKey = KEY,
) -> Samples:
    which = list(range(len(PROMPTS))) if which is None else which
    return sample(model, [PROMPTS[i] for i in which], [IDS[i] for i in which], group_size, temperature, max_tokens, key)


def test_greedy_is_what_transformers_generates(policy: Policy) -> None:
    rows = draw(policy, group_size=1, temperature=0, max_tokens=10).completions()
    for prompt, row in zip(PROMPTS, rows, strict=True):
        ids = torch.tensor([prompt])
        out = policy.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=10,
            eos_token_id=EOS,
            pad_token_id=0,
        )
        assert row == out[0, len(prompt) :].tolist()


def test_greedy_log_probabilities_are_those_of_temperature_one(policy: Policy) -> None:
    samples = draw(policy, group_size=1, temperature=0)
    trees = [Tree(p, [c]) for p, c in zip(PROMPTS, samples.completions(), strict=True)]
    again = logps_of_trees(policy, trees, 1.0, 10**6)
    torch.testing.assert_close(samples.logp_BT, again.logp_BT, rtol=0, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_captured_log_probabilities_are_those_of_the_training_forward(policy: Policy, temperature: float) -> None:
    samples = draw(policy, temperature=temperature)
    rows = samples.completions()
    lengths = {len(row) for row in rows}
    assert len(lengths) > 2 and not samples.ended_B.all() and samples.ended_B.any()  # a batch of every kind
    trees = [Tree(prompt, rows[3 * i : 3 * i + 3]) for i, prompt in enumerate(PROMPTS)]
    again = logps_of_trees(policy, trees, temperature, 10**6)
    assert torch.equal(samples.mask_BT, again.mask_BT)
    torch.testing.assert_close(samples.logp_BT, again.logp_BT, rtol=0, atol=1e-5)


def test_entropy_is_that_of_the_distribution_drawn_from(policy: Policy) -> None:
    samples = draw(policy, which=[0], group_size=2, temperature=0.7)
    for row, entropy_T in zip(samples.completions(), samples.entropy_BT, strict=True):
        with torch.no_grad():
            logits_LV = policy.model(input_ids=torch.tensor([PROMPTS[0] + row])).logits[0] / 0.7
        exact = torch.distributions.Categorical(logits=logits_LV[len(PROMPTS[0]) - 1 : -1]).entropy()
        assert entropy_T[: len(row)].tolist() == pytest.approx(exact.tolist(), abs=1e-5)
        assert not entropy_T[len(row) :].any()


def test_a_completion_does_not_depend_on_its_neighbors(policy: Policy) -> None:
    together = draw(policy).completions()
    for i in range(len(PROMPTS)):
        assert draw(policy, which=[i]).completions() == together[3 * i : 3 * i + 3]
    turned = draw(policy, which=[5, 4, 3, 2, 1, 0]).completions()
    assert [turned[3 * i : 3 * i + 3] for i in range(6)] == [together[3 * (5 - i) : 18 - 3 * i] for i in range(6)]


def test_a_larger_group_or_limit_begins_with_the_same_tokens(policy: Policy) -> None:
    small = draw(policy, group_size=2, max_tokens=5).completions()
    large = draw(policy, group_size=4, max_tokens=15).completions()
    for p in range(len(PROMPTS)):
        for g in range(2):
            assert large[4 * p + g][:5] == small[2 * p + g]


def test_the_same_key_draws_the_same_and_each_of_its_parts_counts(policy: Policy) -> None:
    first = draw(policy).completions()
    torch.manual_seed(99)  # no global state
    torch.rand(7)
    assert draw(policy).completions() == first
    for other in (DrawKey(1, "test", 3), DrawKey(0, "other", 3), DrawKey(0, "test", 4)):
        assert draw(policy, key=other).completions() != first
    assert len(set(map(tuple, first[:3]))) > 1  # nor do siblings share their draws
    renamed = sample(policy, [PROMPTS[0]], ["another"], 3, 1.0, 12, KEY).completions()
    assert renamed != first[:3]


@pytest.mark.parametrize("budget", [1, 60, 150])
def test_batches_change_nothing(policy: Policy, budget: int) -> None:
    whole = draw(policy)
    parts = sample_in_batches(policy, PROMPTS, IDS, 3, 1.0, 12, KEY, token_budget=budget)
    assert parts.completions() == whole.completions()
    assert torch.equal(parts.ended_B, whole.ended_B)
    torch.testing.assert_close(parts.logp_BT, whole.logp_BT, rtol=0, atol=1e-5)
    torch.testing.assert_close(parts.entropy_BT, whole.entropy_BT, rtol=0, atol=1e-5)


# On a table of probabilities, where every number is known


def table(*rows: list[float]) -> Table:
    return Table(torch.tensor(rows))


def test_frequencies_are_the_probabilities() -> None:
    """Chi-square of 4000 first tokens and of those that follow a 2; 16.27 is p = 0.001 at 3 degrees of freedom."""
    model = table([0.1, 0.2, 0.3, 0.4], [0.25] * 4, [0.55, 0.15, 0.25, 0.05], [0.4, 0.1, 0.1, 0.4])
    model.end_ids = frozenset({99})
    samples = sample(model, [[0]], ["p"], 4000, 1.0, 2, KEY)
    first_B, second_B = samples.tokens_BT.T
    follow_B = second_B[first_B == 2]
    assert len(follow_B) > 1000
    for drawn_B, row in ((first_B, 0), (follow_B, 2)):
        expected_V = model.probability_VV[row] * len(drawn_B)
        chi_square = ((torch.bincount(drawn_B, minlength=4) - expected_V).square() / expected_V).sum()
        assert chi_square < 16.27


def test_temperature_sharpens_the_frequencies() -> None:
    """Odds of 3 to 1 become 9 to 1 at temperature 1/2: 3600 of 4000, standard deviation 19."""
    model = table([0.75, 0.25], [0.5, 0.5])
    model.end_ids = frozenset({99})
    samples = sample(model, [[0]], ["p"], 4000, 0.5, 1, KEY)
    assert abs(int((samples.tokens_BT == 0).sum()) - 3600) < 4 * 19
    assert sorted(set(samples.logp_BT.exp().flatten().tolist())) == pytest.approx([0.1, 0.9])


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    model = table([0.0, 0.0, 0.5, 0.0, 0.5, 0.0], *[[0.0, 0.0, 0.5, 0.0, 0.5, 0.0]] * 5)
    samples = sample(model, [[2]], ["p"], 500, 1.0, 4, KEY)
    assert set(samples.tokens_BT.flatten().tolist()) == {2, 4}


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 1), (0.24, 1), (0.25, 3), (1 - 2**-53, 3)])
def test_a_draw_inverts_the_cumulative_distribution(uniform: float, token: int) -> None:
    """Also at both ends of [0, 1), beside tokens of probability zero."""

    class Fixed(DrawKey):
        def uniforms(self, prompt_id: str, sample: int, count: int) -> np.ndarray:
            return np.full(count, uniform)

    model = table(*[[0.0, 0.25, 0.0, 0.75, 0.0]] * 5)
    samples = sample(model, [[0]], ["p"], 1, 1.0, 1, Fixed(0, "test", 0))
    assert samples.tokens_BT.tolist() == [[token]]
    assert samples.logp_BT.exp().item() == pytest.approx([0.25, 0.75][token == 3])
    assert samples.entropy_BT.item() == pytest.approx(0.5623351)  # -(1/4) ln(1/4) - (3/4) ln(3/4)


def test_eos_at_once_at_the_limit_and_never() -> None:
    """From 2 comes EOS; from 3 comes 2, then EOS; from 0 comes 0 forever."""
    model = table([1.0, 0.0, 0.0, 0.0], [0.25] * 4, [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0])
    samples = sample(model, [[2], [0, 3], [0, 0, 0]], ["a", "b", "c"], 1, 1.0, 2, KEY)
    assert samples.tokens_BT.tolist() == [[1, 0], [2, 1], [0, 0]]
    assert samples.mask_BT.tolist() == [[True, False], [True, True], [True, True]]
    assert samples.ended_B.tolist() == [True, True, False]
    assert samples.completions() == [[EOS], [2, EOS], [0, 0]]
    assert samples.logp_BT.tolist() == [[0, 0], [0, 0], [0, 0]]


def test_each_of_several_ends_ends_a_row() -> None:
    """0 goes on to 1 or 2, which end; 3 would follow either."""
    model = table([0.0, 0.5, 0.5, 0.0], *[[0.0, 0.0, 0.0, 1.0]] * 3)
    model.end_ids = frozenset({1, 2})
    samples = sample(model, [[0]], ["p"], 64, 1.0, 3, KEY)
    assert {tuple(row) for row in samples.completions()} == {(1,), (2,)} and bool(samples.ended_B.all())
    model.end_ids = frozenset({2})
    samples = sample(model, [[0]], ["p"], 64, 1.0, 3, KEY)
    assert {tuple(row) for row in samples.completions()} == {(1, 3, 3), (2,)}
    assert samples.ended_B.tolist() == (samples.mask_BT.sum(1) == 1).tolist()


def test_the_rectangle_is_as_wide_as_its_longest_row() -> None:
    model = table([1.0, 0.0, 0.0], [0.2, 0.4, 0.4], [0.0, 1.0, 0.0])
    samples = sample(model, [[2], [0, 2]], ["a", "b"], 2, 1.0, 50, KEY)
    assert samples.tokens_BT.shape == (4, 1)
    assert samples.ended_B.all()


def test_a_prompt_is_run_once_and_a_finished_row_no_more() -> None:
    """One token is drawn before the first extension, so that rows leave before they are run again."""
    model = table([1.0, 0.0, 0.0, 0.0], [0.25] * 4, [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0])
    sample(model, [[2], [3], [0]], ["a", "b", "c"], 4, 1.0, 5, KEY)
    assert model.rows_run == [3, 8, 4, 4, 4]


def test_retired_rows_do_not_change_the_others(policy: Policy) -> None:
    """Each row drawn alone, where no other can retire, against a batch in which others do."""
    batch = draw(policy, max_tokens=20)
    lengths = batch.mask_BT.sum(1)
    assert len(set(lengths.tolist())) > 3
    rows = batch.completions()
    for p in range(len(PROMPTS)):
        alone = draw(policy, which=[p], group_size=1, max_tokens=20)
        assert alone.completions() == [rows[3 * p]]
        size = len(rows[3 * p])
        torch.testing.assert_close(alone.logp_BT[0], batch.logp_BT[3 * p, :size], rtol=0, atol=1e-5)
        torch.testing.assert_close(alone.entropy_BT[0], batch.entropy_BT[3 * p, :size], rtol=0, atol=1e-5)
        assert not batch.logp_BT[3 * p, size:].any() and not batch.tokens_BT[3 * p, size:].any()


def test_uniforms_are_a_prefix_of_longer_ones() -> None:
    few, many = KEY.uniforms("p", 0, 3), KEY.uniforms("p", 0, 50)
    assert few.tolist() == many[:3].tolist()
    assert ((many >= 0) & (many < 1)).all()
    assert KEY.uniforms("p", 1, 3).tolist() != few.tolist()
    assert KEY.uniforms("q", 0, 3).tolist() != few.tolist()


def test_rare_tokens_of_a_large_vocabulary_are_each_drawn_in_their_turn() -> None:
    """Behind a token of nearly 1 come a hundred thousand of 1e-9: float32 near 1 has steps of 6e-8, of sixty tokens."""
    rare, count = 1e-9, 100_000
    probability_V = torch.full((count + 1,), rare)
    probability_V[0] = 0.9999
    mass = probability_V.double()
    tokens = torch.arange(1, count, 997)
    uniform_R = (mass[0] + (tokens.double() - 0.5) * mass[1]) / mass.sum()  # the middle of each token's part
    drawn = choose(probability_V.expand(len(tokens), -1), 1.0, uniform_R)
    assert drawn.tolist() == tokens.tolist()
