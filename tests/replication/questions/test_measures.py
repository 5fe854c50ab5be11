import math
from dataclasses import replace

import synthetic_study as synthetic
from synthetic_study import GOOD, OVER, Spec

from overopt.replication.members import Member, Members
from overopt.replication.questions.measures import (
    baselines,
    curve,
    gain,
    last,
    lasting_fall,
    pooled_label,
    proxy_gain,
    reward_model_of,
    step_of_fall,
    usable,
)


def run(seed: int = 100, **spec: object) -> Member:
    return synthetic.member("row", {}, seed, Spec(**spec))  # type: ignore[arg-type]


def test_runs_without_a_label_do_not_count() -> None:
    runs = [run(101, **GOOD), run(100, **GOOD), run(102, gate="sft.win_rate is 0.1")]
    assert [one.seed for one in usable(runs)] == [100, 101]


def test_the_curve_of_an_evaluated_number() -> None:
    rows = [{"step": 10, "kl_ref": 2.0}, {"step": 0, "kl_ref": 0.0}, {"step": 10, "kl_ref": 3.0}, {"step": 20}]
    one = replace(run(), evaluations=rows)
    assert [list(points) for points in curve(one, "kl_ref")] == [[0, 10], [0.0, 3.0]]
    assert last(one, "kl_ref") == 3.0 and math.isnan(last(one, "gold_mean"))


def test_changes_since_sft() -> None:
    one = run(**OVER)
    assert abs(gain(one) - (0.1 - 0.4)) < 0.011 and proxy_gain(one) > 1
    assert pooled_label([run(seed, **OVER) for seed in (100, 101, 102)]) == "OVER"


def test_the_fall_is_the_first_evaluation_significantly_below_sft() -> None:
    prompts = [f"p{i}" for i in range(100)]

    def won(wins: int) -> dict[str, float]:
        return {prompt: float(place < wins) for place, prompt in enumerate(prompts)}

    one = replace(run(), won={0: won(50), 10: won(49), 20: won(44), 30: won(10)})
    # 6 of 100 lost: the mean -.06 is 2.53 of its standard errors sqrt(.06 - .06^2) / 10; 1 of 100: 1.005
    assert step_of_fall(one) == 20 and lasting_fall(one) == 20
    dip = replace(one, won={0: won(50), 10: won(10), 20: won(55), 30: won(20), 40: won(10)})
    assert step_of_fall(dip) == 10 and lasting_fall(dip) == 30
    assert lasting_fall(replace(one, won={0: won(50), 10: won(10), 20: won(49)})) == math.inf
    assert step_of_fall(replace(one, won={0: won(50), 10: won(49), 20: won(70)})) == math.inf


def test_the_reward_model_behind_a_run_and_its_baselines() -> None:
    models = [
        replace(
            synthetic.member(f"rm{place}", {}, 100, Spec(stage="reward_model", judged=False)),
            name=f"rm{place}",
            evaluations=[{"step": 5, "above_baselines": above}],
        )
        for place, above in enumerate((1.9, 2.1))
    ]
    child = replace(run(), parents={"reward_model": "rm1", "policy": "rm0"})
    members = Members("s", "miniature", (*models, child), ())
    assert reward_model_of(child, members) is models[1] and reward_model_of(models[0], members) is None
    assert "Of 2 reward models 1 order held-out pairs better" in baselines(members)
    assert baselines(Members("s", "miniature", (child,), ())) == ""
