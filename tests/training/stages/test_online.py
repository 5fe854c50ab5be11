from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import foreign
import pytest
import tiny
import torch
from tiny import Chain
from transformers import AutoModelForCausalLM

from overopt.errors import UserError
from overopt.models.load import load_policy
from overopt.models.text import word_tokenizer
from overopt.records import Run
from overopt.training.train import train

NAMES = {
    *("score_mean", "score_sd", "bonus_mean", "rlhf_reward", "kl_ref", "neg_logp_sum", "neg_logp_tok", "entropy_tok"),
    *("approxkl", "kl_prev", "kl_prev_reverse", "clipfrac", "ratio_mean", "ratio_var", "eos_rate", "len_mean"),
    *("gold_mean", "lr", "grad_norm", "loss", "episode", "sampler_gap", "step"),
}
"""What an online run promises to record at every update."""

KL = {"name": "kl", "coef": 0.2}


@pytest.fixture(scope="module")
def plain(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """No regularizer: what every comparison starts from."""
    return train(tiny.online(chain, regularizers=[]), tmp_path_factory.mktemp("online") / "plain")


@pytest.mark.parametrize(
    "regularizers",
    [
        [{"name": "kl", "coef": 0}],
        [{"name": "entropy_sum", "coef": 0}],
        [{"name": "entropy_length_normalized", "coef": 0}],
        [{"name": "entropy_length_normalized", "coef": -0.0}],
        [{"name": "kl", "coef": 0}, {"name": "entropy_sum", "coef": -0.0}],
    ],
    ids=["kl", "entropy sum", "entropy normalized", "minimum entropy", "two"],
)
def test_coefficient_zero_is_no_regularizer(plain: Run, chain: Chain, tmp_path: Path, regularizers: list[Any]) -> None:
    run = train(tiny.online(chain, regularizers=regularizers), tmp_path / "run")
    assert tiny.metrics(run) == tiny.metrics(plain)
    assert tiny.same_weights(run, plain)


@pytest.mark.parametrize("name", ["k1", "k2", "k3", "token_kl_reverse", "token_kl_forward", "token_entropy"])
def test_coefficient_zero_in_the_loss_is_no_regularizer(plain: Run, chain: Chain, tmp_path: Path, name: str) -> None:
    settings = {"regularizers": [], "loss_regularizers": [{"name": name, "coef": 0}]}
    run = train(tiny.online(chain, **settings), tmp_path / "run")
    assert [{k: v for k, v in row.items() if k != f"loss/{name}"} for row in tiny.rows(run)] == tiny.rows(plain)
    assert tiny.same_weights(run, plain)


def test_the_same_configuration_gives_the_same_bits(plain: Run, chain: Chain, tmp_path: Path) -> None:
    torch.manual_seed(12345)  # nothing may draw from the global stream
    run = train(tiny.online(chain, regularizers=[]), tmp_path / "run")
    assert tiny.metrics(run) == tiny.metrics(plain)
    assert tiny.same_weights(run, plain)
    other = train(tiny.online(chain, regularizers=[], seed=1), tmp_path / "other")
    assert tiny.metrics(other) != tiny.metrics(plain)


def test_evaluations_change_nothing(plain: Run, chain: Chain, tmp_path: Path) -> None:
    run = train(tiny.online(chain, regularizers=[], checkpoint_every=1), tmp_path / "run")
    assert run.checkpoints() == [1, 2, 3] and plain.checkpoints() == [3]
    assert tiny.metrics(run) == tiny.metrics(plain)
    assert tiny.same_weights(run, plain)


def test_every_metric_is_recorded(plain: Run) -> None:
    for row in tiny.rows(plain):
        assert row.keys() == NAMES
        assert row["rlhf_reward"] == row["score_mean"] and row["bonus_mean"] == 0
        assert 0 <= row["clipfrac"] <= 1 and 0 <= row["eos_rate"] <= 1
        assert row["kl_prev"] > 0 and row["kl_prev_reverse"] > 0
    assert plain.series("episode")[1] == [8, 16, 24]
    assert plain.series("lr")[1] == pytest.approx([1e-3, 2e-3 / 3, 1e-3 / 3])
    assert plain.info["optimizer_steps"] == 3 * 2 * 2
    assert [row["step"] for row in plain.evaluations()] == [0, 3]
    for row in plain.evaluations():
        assert {"ref_summary_logp_sum", "ref_summary_logp_mean", "kl_ref", "win_rate", "proxy_mean"} <= row.keys()
    assert plain.evaluations()[0]["win_difference"] == 0
    assert plain.evaluations()[0]["kl_ref"] == pytest.approx(0, abs=1e-4)


def test_regularizers_pay_what_they_say(chain: Chain, tmp_path: Path) -> None:
    names = {"kl": -0.5, "entropy_sum": 0.25, "entropy_length_normalized": -2.0}
    series = {"kl": "kl_ref", "entropy_sum": "neg_logp_sum", "entropy_length_normalized": "neg_logp_tok"}
    for name, factor in names.items():
        coef = abs(factor) if name == "kl" else factor
        run = train(tiny.online(chain, regularizers=[{"name": name, "coef": coef}]), tmp_path / name)
        for row in tiny.rows(run):
            assert row["bonus_mean"] == pytest.approx(factor * row[series[name]], rel=1e-4, abs=1e-5)
            assert row["rlhf_reward"] == pytest.approx(row["score_mean"] + row["bonus_mean"], rel=1e-4, abs=1e-5)


def test_the_first_update_starts_where_sampling_ended(chain: Chain, tmp_path: Path) -> None:
    run = train(tiny.online(chain, epochs=1, minibatches=1), tmp_path / "run")
    for row in tiny.rows(run):
        assert row["sampler_gap"] < 1e-5
        assert row["clipfrac"] == 0
        assert row["ratio_mean"] == pytest.approx(1, abs=1e-5)
        assert row["approxkl"] < 1e-9
        assert row["loss"] == pytest.approx(0, abs=1e-4)  # advantages of a prompt sum to 0


def test_micro_batches_change_only_rounding(chain: Chain, tmp_path: Path) -> None:
    compute = tiny.SHARED["compute"]
    for minibatches in (1, 2):
        shape = {"total_episodes": 8, "checkpoint_every": 1, "minibatches": minibatches, "regularizers": [KL]}
        whole = train(tiny.online(chain, **shape), tmp_path / f"whole-{minibatches}")
        small = compute | {"token_budget": 50}  # every prompt by itself
        parts = train(tiny.online(chain, compute=small, **shape), tmp_path / f"parts-{minibatches}")
        (a,), (b,) = tiny.rows(whole), tiny.rows(parts)
        for name in NAMES - {"sampler_gap"}:
            assert tiny.close(a[name], b[name]), name
        assert tiny.farthest(whole, parts) < 5e-5  # where the updates move weights by some 1e-3


GOLDEN = {
    "score_mean": [-1.53397, -0.754332, -0.415822],
    "score_sd": [0.891301, 1.2158, 1.26046],
    "bonus_mean": [1.19209e-08, -0.0160469, 0.0144627],
    "neg_logp_sum": [29.9077, 26.4401, 28.2829],
    "neg_logp_tok": [4.98461, 4.89701, 4.91076],
    "entropy_tok": [4.90192, 4.9015, 4.90223],
    "eos_rate": [0.0, 0.25, 0.125],
    "len_mean": [6.0, 5.375, 5.75],
    "kl_ref": [-5.96046e-08, 0.0802347, -0.0723134],
    "gold_mean": [-12.675, -10.3375, -10.6875],
    "loss": [-0.167954, -0.131703, -0.0588309],
    "grad_norm": [10.9762, 15.8261, 15.5694],
    "approxkl": [0.144492, 0.0112832, 0.00199385],
    "ratio_mean": [1.07245, 1.00457, 1.00243],
    "ratio_var": [0.224155, 0.0213881, 0.00389047],
    "clipfrac": [0.5, 0.25, 0.0],
    "kl_prev": [0.480418, 0.0572769, 0.0159649],
    "kl_prev_reverse": [0.486906, 0.0590229, 0.0162655],
}


def test_golden_values(short_chain: Chain, tmp_path: Path) -> None:
    changes = {"regularizers": [KL], "max_completion_tokens": 6, "missing_eos": "subtract"}
    run = train(tiny.online(short_chain, **changes), tmp_path / "run")
    for name, expected in GOLDEN.items():
        assert run.series(name)[1] == pytest.approx(expected, rel=1e-3, abs=1e-5), name


def test_the_logit_loss_runs(chain: Chain, tmp_path: Path) -> None:
    whole = train(tiny.online(chain, loss="lco"), tmp_path / "whole")
    for row in tiny.rows(whole):
        assert row.keys() == NAMES - {"clipfrac"}  # it clips nothing
        assert row["grad_norm"] > 0
    small = tiny.SHARED["compute"] | {"token_budget": 50}
    parts = train(tiny.online(chain, loss="lco", compute=small), tmp_path / "parts")
    for name in ("loss", "grad_norm"):
        assert tiny.close(tiny.rows(parts)[0][name], tiny.rows(whole)[0][name]), name


def test_an_adaptive_coefficient_moves_and_is_recorded(chain: Chain, tmp_path: Path) -> None:
    coef = {"name": "adaptive_kl", "initial": 0.2, "target": 1.0, "horizon": 100.0}
    run = train(tiny.online(chain, regularizers=[{"name": "kl", "coef": coef}]), tmp_path / "run")
    coefs, kl = run.series("coef_0")[1], run.series("kl_ref")[1]
    assert coefs[0] == 0.2
    for step in (0, 1):
        error = min(0.2, max(-0.2, kl[step] / 1.0 - 1.0))
        assert coefs[step + 1] == pytest.approx(coefs[step] * (1 + error * 8 / 100))
    assert coefs[2] != coefs[1] != coefs[0]
    for row in tiny.rows(run):
        assert row.keys() == NAMES | {"coef_0"}
        assert row["bonus_mean"] == pytest.approx(-row["coef_0"] * row["kl_ref"], rel=1e-4, abs=1e-6)


ADVANTAGES = ["group_mean", "grpo", "running_baseline", "reinforce_pp", "remax", "opo"]


@pytest.mark.parametrize("name", ADVANTAGES)
def test_every_advantage_trains_and_differs_from_rloo(plain: Run, chain: Chain, tmp_path: Path, name: str) -> None:
    run = train(tiny.online(chain, regularizers=[], advantage=name), tmp_path / "run")
    assert all(row.keys() == NAMES for row in tiny.rows(run))
    assert tiny.rows(run)[0]["score_mean"] == tiny.rows(plain)[0]["score_mean"]  # the same samples
    assert not tiny.same_weights(run, plain)


@pytest.mark.parametrize("name", ["running_baseline", "reinforce_pp", "remax"])
def test_some_take_one_sample_a_prompt(chain: Chain, tmp_path: Path, name: str) -> None:
    run = train(tiny.online(chain, advantage=name, samples_per_prompt=1), tmp_path / "run")
    assert len(tiny.rows(run)) == 3


@pytest.mark.parametrize("name", ["ppo_clip_token", "reinforce", "gspo", "cispo"])
def test_every_policy_loss_trains(plain: Run, chain: Chain, tmp_path: Path, name: str) -> None:
    run = train(tiny.online(chain, regularizers=[], loss=name), tmp_path / "run")
    clips = set() if name == "reinforce" else {"clipfrac"}
    assert all(row.keys() == (NAMES - {"clipfrac"}) | clips for row in tiny.rows(run))
    assert not tiny.same_weights(run, plain)


def test_regularizers_in_the_loss_are_recorded_by_name(chain: Chain, tmp_path: Path) -> None:
    coef = {"name": "cosine", "initial": 0.3, "final": 0.1}
    settings = {"loss_regularizers": [{"name": "k2", "coef": coef}, "token_entropy"], "regularizers": []}
    run = train(tiny.online(chain, **settings), tmp_path / "run")
    assert run.series("loss_coef_0")[1] == pytest.approx([0.3, 0.25, 0.15])
    for row in tiny.rows(run):
        assert row.keys() == NAMES | {"loss/k2", "loss/token_entropy", "loss_coef_0"}
        assert row["loss/k2"] >= 0 > row["loss/token_entropy"]


def test_without_a_reward_model_only_regularizers_act(chain: Chain, tmp_path: Path) -> None:
    """EM-RL-sequence: the reward is the mean log-probability of a token."""
    regularizers = [{"name": "entropy_length_normalized", "coef": -1.0}]
    run = train(tiny.online(chain, reward_model=None, regularizers=regularizers), tmp_path / "run")
    for row in tiny.rows(run):
        assert row.keys() == NAMES - {"score_mean", "score_sd"}
        assert row["rlhf_reward"] == row["bonus_mean"] == pytest.approx(-row["neg_logp_tok"])
    assert all("proxy_mean" not in row and "win_rate" in row for row in run.evaluations())
    assert [p["role"] for p in run.info["parents"]] == ["policy"]


def test_entropy_can_be_minimized_directly(chain: Chain, tmp_path: Path) -> None:
    """EM-FT: no reward at all, so that the advantage is 0 and the loss is the tokens' entropy."""
    settings = {
        "reward_model": None,
        "regularizers": [],
        "loss_regularizers": [{"name": "token_entropy", "coef": -1.0}],
        "lr": 1e-2,
        "schedule": "constant",
        "epochs": 1,
        "minibatches": 1,
    }
    run = train(tiny.online(chain, **settings), tmp_path / "run")
    first, *_, last = tiny.rows(run)
    assert first["loss"] == pytest.approx(first["loss/token_entropy"]) == pytest.approx(first["entropy_tok"], rel=1e-4)
    assert last["entropy_tok"] < 0.9 * first["entropy_tok"]


def test_kl_is_measured_against_the_reference_that_is_named(chain: Chain, tmp_path: Path) -> None:
    train(tiny.sft(seed=1), tmp_path / "reference")
    run = train(tiny.online(chain, reference=str(tmp_path / "reference")), tmp_path / "run")
    assert tiny.rows(run)[0]["kl_ref"] > 0.1
    assert [p["role"] for p in run.info["parents"]] == ["policy", "reference", "reward_model"]


def test_unended_completions_score_by_rule(chain: Chain, tmp_path: Path) -> None:
    cut: dict[str, Any] = {"max_completion_tokens": 2, "epochs": 1, "minibatches": 1, "total_episodes": 8}
    scores = {}
    for name in ("replace", "subtract", "keep"):
        (row,) = tiny.rows(train(tiny.online(chain, missing_eos=name, **cut), tmp_path / name))
        assert row["eos_rate"] == 0
        scores[name] = row["score_mean"]
    assert scores["replace"] == -1
    assert scores["subtract"] == pytest.approx(scores["keep"] - 1, abs=1e-5)


def test_the_checkpoint_is_an_ordinary_folder(plain: Run) -> None:
    folder = plain.checkpoint()
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        ours = load_policy(folder, torch.device("cpu"))
        assert torch.equal(model(ids).logits, ours.model(ids).logits)


def test_a_bf16_run_compares_like_with_like(chain: Chain, tmp_path: Path) -> None:
    compute = tiny.SHARED["compute"] | {"precision": "bf16"}
    run = train(tiny.online(chain, compute=compute, epochs=1, minibatches=1), tmp_path / "run")
    assert tiny.rows(run)[0]["clipfrac"] == 0
    assert tiny.rows(run)[0]["sampler_gap"] < 1e-2


BAD = [
    ({"samples_per_prompt": 1}, "samples_per_prompt: 1 is too few, RLOO needs 2"),
    ({"episodes_per_update": 9}, "episodes_per_update: 9 is not a multiple of samples_per_prompt, 2"),
    ({"minibatches": 3}, "minibatches: 3 does not divide the 4 prompts of a step"),
    ({"total_episodes": 4}, "total_episodes: less than one update's episodes_per_update"),
    (
        {"episodes_per_update": 72, "total_episodes": 72},
        "episodes_per_update: a batch needs 36 records, but",
    ),
    ({"regularizers": [{"name": "kl", "coef": -1}]}, "regularizers.0.coef: must be >= 0"),
    (
        {"regularizers": [{"name": "entropy_sum", "coef": float("nan")}]},
        "regularizers.0.coef: expected a finite number",
    ),
    ({"regularizers": ["entropie_sum"]}, "entropy_sum"),
    (
        {"advantage": "reinforce_pp", "samples_per_prompt": 1, "episodes_per_update": 1, "minibatches": 1},
        "episodes_per_update: 1 is too few, ReinforcePP needs 2",
    ),
    ({"reward_model": None, "regularizers": []}, "reward_model: null without .* leaves nothing to optimize"),
    ({"loss_regularizers": [{"name": "k2", "coef": -1}]}, "loss_regularizers.0.coef: must be >= 0"),
    ({"loss_regularizers": ["kl"]}, "loss_regularizers.0: unknown name 'kl'"),
    ({"lr": "fast"}, "lr: expected a number"),
    ({"temperature": 0}, "temperature: must be > 0"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[message.partition(":")[0] for _, message in BAD])
def test_bad_input_leaves_nothing_behind(chain: Chain, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(tiny.online(chain, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_eos_is_not_replaced_on_scores_that_are_not_centered(chain: Chain, tmp_path: Path) -> None:
    """Around a mean of 7, say, a score of -1 would punish every cut completion beyond measure."""
    raw = train(tiny.reward_model(chain, normalization="none"), tmp_path / "raw").path
    with pytest.raises(UserError, match="missing_eos: replacing .* are centered.*: set centering: demonstrations"):
        train(tiny.online(chain, reward_model=str(raw)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    for missing_eos in ("subtract", "keep"):
        config = tiny.online(chain, reward_model=str(raw), missing_eos=missing_eos, total_episodes=8)
        assert train(config, tmp_path / missing_eos).status == "finished"


def test_a_reference_of_another_vocabulary_is_refused(chain: Chain, tmp_path: Path) -> None:
    policy = load_policy(Run(chain.policy, {}).checkpoint(), torch.device("cpu"))
    vocabulary = policy.tokenizer.get_vocab()
    words = sorted(vocabulary, key=lambda word: vocabulary[word])
    foreign.save_policy(tmp_path / "reference", word_tokenizer([*words[:2], *words[:1:-1]]))
    message = f"reference: {tmp_path}/reference does not share the vocabulary .* tokens have another id"
    for config in (tiny.online, tiny.offline):
        with pytest.raises(UserError, match=message):
            train(config(chain, reference=str(tmp_path / "reference")), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_reward_model_under_another_prompt_style_is_asked_in_its_own(tmp_path: Path) -> None:
    foreign.save_policy(tmp_path / "policy", foreign.policys())
    task = {"name": "local", "path": str(foreign.write_pairs(tmp_path / "pairs.jsonl")), "holdout": 0.4}
    chain = Chain(tmp_path / "policy", tmp_path / "reward")
    settings = {"pairs": "task", "normalization": "none", "batch_size": 4, "task": task}
    made = train(tiny.reward_model(chain, **settings), chain.reward_model)
    assert json.loads((made.checkpoint() / "config.json").read_text())["reward_prompt_style"] == "raw"
    changes = {"missing_eos": "keep", "max_completion_tokens": 6, "total_episodes": 8}
    notices: list[str] = []
    for name in ("run", "older"):  # the folder says it, or of an older run the record
        config = tiny.online(chain, task={**task, "prompt_style": "chat_template"}, **changes)
        run = train(config, tmp_path / name, notice=notices.append)
        plain = foreign.Plain.load(made.checkpoint())
        for sample in run.samples(0):
            expected = plain.raw(sample["prompt"], sample["completion"], sample["ended"])
            assert sample["proxy"] == pytest.approx(expected, abs=1e-5)
        assert "was trained under prompt_style raw, and the task's is chat_template" in notices.pop()
        file = made.checkpoint() / "config.json"
        document = json.loads(file.read_text())
        document.pop("reward_prompt_style", None)
        file.write_text(json.dumps(document))


def test_a_reward_beyond_all_bounds_is_named(tmp_path: Path, chain: Chain) -> None:
    (tmp_path / "huge.py").write_text(
        "def f(prompts, completions, **columns):\n    return [1e300] * len(completions)\n"
    )
    config = tiny.online(chain, reward_model=None, rewards=[f"{tmp_path}/huge.py:f"])
    with pytest.raises(UserError, match=r"rewards.0: .*huge.py:f gave 8 of 8 completions a score that is not finite"):
        train(config, tmp_path / "run")
    (tmp_path / "big.py").write_text("def f(completions, **columns):\n    return [1e15] * len(completions)\n")
    config = tiny.online(chain, reward_model=None, rewards=[{"name": f"{tmp_path}/big.py:f", "weight": 1e9}])
    with pytest.raises(UserError, match=r"rewards.0: .*f, times its weight 1e\+09, gave 8 of 8 .*; lower the weight"):
        train(config, tmp_path / "weighted")


def test_parents_that_will_not_do(chain: Chain, tmp_path: Path) -> None:
    for changes, message in [
        ({"policy": str(tmp_path / "nowhere")}, "policy: .*nowhere is neither a run directory nor"),
        (
            {"policy": str(chain.reward_model)},
            "policy: .* is a run of stage reward_model; needed: offline or online or",
        ),
        ({"reward_model": str(chain.policy)}, "reward_model: .* is a run of stage sft; needed: reward_model"),
        ({"reward_model": str(chain.policy / "checkpoints/step-60")}, "no weights for score.weight"),
    ]:
        with pytest.raises(UserError, match=message):
            train(tiny.online(chain, **changes), tmp_path / "run")
        assert not (tmp_path / "run").exists()
