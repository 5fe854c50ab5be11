from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import foreign
import pytest
import tiny
import torch
from tiny import Chain

from overopt.errors import UserError
from overopt.records import Run, load_run
from overopt.tasks import Miniature
from overopt.training.train import train

NAMES = {
    *("step", "loss", "grad_norm", "rewards_chosen", "rewards_rejected", "rewards_acc", "rewards_margin"),
    *("logps_chosen_sum", "logps_chosen_mean", "logps_rejected_sum", "logps_rejected_mean"),
    *("logits_chosen", "logits_rejected", "ref_margin", "ref_margin_sd", "ref_margin_iqr"),
}
"""What an offline run promises to record at every step."""


@pytest.fixture(scope="module")
def dpo(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tiny.offline(chain), tmp_path_factory.mktemp("offline") / "dpo")


def test_dpo_starts_at_log_2(dpo: Run) -> None:
    first = tiny.rows(dpo)[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert first["rewards_margin"] == pytest.approx(0, abs=1e-5)
    assert first["ref_margin"] == pytest.approx(first["logps_chosen_sum"] - first["logps_rejected_sum"], abs=1e-4)


def test_every_name_of_the_record(dpo: Run) -> None:
    assert len(tiny.rows(dpo)) == 4
    for row in tiny.rows(dpo):
        assert row.keys() == NAMES | {"lr"}
        assert row["rewards_margin"] == pytest.approx(row["rewards_chosen"] - row["rewards_rejected"], abs=1e-5)
    gold, pairs = dpo.evaluations("gold"), dpo.evaluations("pairs")
    assert [row["step"] for row in gold] == [row["step"] for row in pairs] == [0, 4]
    assert gold[0]["win_difference"] == 0
    assert {"proxy_mean", "kl_ref", "ref_summary_logp_sum"} <= gold[0].keys()
    assert all(row["n"] == 32 for row in pairs)
    assert pairs[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert pairs[1]["margin"] > 0
    assert [parent["role"] for parent in dpo.info["parents"]] == ["policy", "reward_model", "pairs"]


@pytest.mark.parametrize(
    "loss",
    [
        *("simpo", "kto", {"name": "simpo", "alpha": 1.0, "gamma": 0.0}, "gamma_po", "cringe", "rrhf"),
        {"name": "amopo", "prompts": ["POST: {prompt}"]},
    ],
    ids=str,
)
def test_other_losses_run_with_complete_records(chain: Chain, tmp_path: Path, loss: Any) -> None:
    run = train(tiny.offline(chain, loss=loss), tmp_path / "run")
    assert all(row.keys() == NAMES | {"lr"} for row in tiny.rows(run))
    assert [row["step"] for row in run.evaluations("pairs")] == [0, 4]


def test_rankings_from_the_sampler_to_the_policy(chain: Chain, tmp_path: Path) -> None:
    rankings = {"name": "sampled", "count": 32, "per_prompt": 3}
    reward_model = tiny.reward_model(chain, pairs=rankings, loss="plackett_luce")
    proxy = train(reward_model, tmp_path / "proxy")
    assert {len(row["ranked"]) for row in proxy.pairs()} == {3}
    last = proxy.evaluations("pairs")[-1]
    assert last["n"] == 32 and 0.5 < last["label_ceiling"] <= 1
    pairs = {"name": "run", "path": str(proxy.path)}
    loss = {"name": "plackett_luce_dpo", "beta": 0.1}
    run = train(tiny.offline(chain, pairs=pairs, loss=loss), tmp_path / "run")
    assert tiny.rows(run)[0]["loss"] == pytest.approx(math.log(6), abs=1e-5)  # log 3!
    assert all(row.keys() == NAMES | {"lr"} for row in tiny.rows(run))
    for stage, message in [
        (tiny.offline(chain, pairs=pairs), "loss: dpo takes pairs, but these records rank 3 completions each"),
        (tiny.reward_model(chain, pairs=rankings), "loss: bradley_terry takes pairs, but these .* rank 3 completions"),
    ]:
        with pytest.raises(UserError, match=message):
            train(stage, tmp_path / "refused")
        assert not (tmp_path / "refused").exists()


def test_a_loss_that_remembers_moves_from_step_to_step(chain: Chain, tmp_path: Path) -> None:
    """With history the second step's margins are shared with the first step's gaps."""
    strong = {"name": "gamma_po", "gamma": 1.0, "tau": 0.5}
    runs = [train(tiny.offline(chain, loss=strong | {"queue": q}), tmp_path / str(q)) for q in (0, 64)]
    losses = [[row["loss"] for row in tiny.rows(run)] for run in runs]
    assert losses[0][0] == losses[1][0] and losses[0][1] != losses[1][1]


def test_kto_starts_at_one(chain: Chain, tmp_path: Path) -> None:
    run = train(tiny.offline(chain, loss="kto", steps=1), tmp_path / "run")
    assert tiny.rows(run)[0]["loss"] == pytest.approx(1.0, abs=1e-5)  # both halves 1 - sigma(0)


def test_the_same_configuration_gives_the_same_bits_whatever_is_evaluated(
    dpo: Run, chain: Chain, tmp_path: Path
) -> None:
    torch.manual_seed(54321)
    run = train(tiny.offline(chain, checkpoint_every=1), tmp_path / "run")
    assert run.checkpoints() == [1, 2, 3, 4]
    assert tiny.metrics(run) == tiny.metrics(dpo)
    assert tiny.same_weights(run, dpo)
    alone = train(tiny.offline(chain, reward_model=None), tmp_path / "alone")
    assert tiny.metrics(alone) == tiny.metrics(dpo)
    assert "proxy_mean" not in alone.evaluations("gold")[0]


def test_before_the_first_step_every_pair_is_a_tie_and_half_right(chain: Chain, tmp_path: Path) -> None:
    run = train(tiny.offline(chain, reward_model=None), tmp_path / "run")
    first = next(row for row in run.evaluations("pairs") if row["step"] == 0)
    assert (first["accuracy"], first["margin"]) == (0.5, 0.0)
    assert run.series("rewards_acc")[1][0] == 0.5


def told(chain: Chain, rows: list[dict[str, str]], folder: Path, **changes: Any) -> tuple[list[str], Run]:
    """What a run on pairs from a file says, and the run."""
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"name": "local", "path": str(folder / "pairs.jsonl"), "holdout": 0.5}
    notices: list[str] = []
    settings = {"reward_model": None, "pairs": "task", "task": task, "steps": 1, "checkpoint_every": 1, "batch_size": 2}
    run = train(tiny.offline(chain, **settings | changes), folder / "run", notice=notices.append)
    return notices, run


def test_what_a_limit_leaves_out_is_said_before_training(chain: Chain, tmp_path: Path) -> None:
    words = Miniature().vocabulary() or []
    short, long = words[2], " ".join(words[2:4] * 10)
    rows = [{"prompt": f"{words[2 + n]}", "chosen": long if n % 4 else short, "rejected": words[3]} for n in range(40)]
    notices, run = told(chain, rows, tmp_path, max_completion_tokens=8)
    dropped, kept = run.info["dropped"], run.info["kept"]
    lost = dropped["pairs"]["completion longer than 8 tokens"]
    assert lost > kept["pairs"] >= 2
    assert notices == [
        f"{run.path}: {what}: {n} of {n + kept[what]} records are left out ({n} x completion longer than 8 tokens, "
        "see max_completion_tokens)"
        for what in ("pairs", "held-out pairs")
        if (n := dropped[what]["completion longer than 8 tokens"])
    ]


def test_that_no_held_out_pair_is_left_is_said(chain: Chain, tmp_path: Path) -> None:
    words = Miniature().vocabulary() or []
    rows = [{"prompt": words[2 + n], "chosen": words[2], "rejected": words[3]} for n in range(40)]
    (tmp_path / "evaluation.jsonl").write_text(
        json.dumps({"prompt": words[60], "chosen": " ".join(words[2:4] * 10), "rejected": words[3]}) + "\n"
    )
    task = {
        "name": "local",
        "path": str(tmp_path / "pairs.jsonl"),
        "evaluation_path": str(tmp_path / "evaluation.jsonl"),
    }
    notices, run = told(chain, rows, tmp_path, task=task, max_completion_tokens=8)
    (notice,) = notices
    assert notice.startswith(f"{run.path}: held-out pairs: 1 of 1 records are left out (1 x completion longer than 8")
    assert notice.endswith("no held-out pair is left, and no accuracy on any is recorded")
    assert run.info["kept"] == {"pairs": 40, "held-out pairs": 0, "evaluation": 1}


GOLDEN = {
    "dpo": {
        "loss": [0.693147, 0.693194, 0.693766, 0.69335],
        "grad_norm": [0.167464, 0.163527, 0.154934, 0.165098],
        "rewards_margin": [0.0, -9.06229e-05, -0.00122084, -0.000401795],
        "logps_chosen_sum": [-26.7009, -29.3542, -27.4625, -29.7758],
        "logps_rejected_mean": [-4.94001, -4.88336, -4.9371, -4.88939],
        "logits_chosen": [-0.0211742, -0.0167404, -0.0183226, -0.0186386],
        "ref_margin": [2.93919, -0.0521539, 2.18449, -0.431433],
    },
    "simpo": {
        "loss": [0.927948, 1.05386, 0.975459, 1.07898],
        "grad_norm": [1.56836, 1.4185, 1.40146, 1.4267],
        "rewards_margin": [0.0885584, -0.121237, 0.00478935, -0.147238],
        "logps_chosen_sum": [-26.7009, -29.3644, -27.4578, -29.7861],
        "logps_rejected_mean": [-4.94001, -4.88396, -4.93913, -4.89074],
        "logits_chosen": [-0.0211742, -0.0174392, -0.0191167, -0.0194173],
        "ref_margin": [2.93919, -0.0521539, 2.18449, -0.431433],
    },
    "kto": {
        "loss": [1.0, 1.00005, 1.00061, 1.0002],
        "grad_norm": [0.167464, 0.163515, 0.154676, 0.165067],
        "rewards_margin": [0.0, -0.00018127, -0.00244387, -0.000806177],
        "logps_chosen_sum": [-26.7009, -29.3542, -27.4626, -29.7758],
        "logps_rejected_mean": [-4.94001, -4.88336, -4.9371, -4.88939],
        "logits_chosen": [-0.0211742, -0.0167404, -0.0183215, -0.0186372],
        "ref_margin": [2.93919, -0.0521541, 2.18449, -0.431433],
    },
}


@pytest.mark.parametrize("loss", GOLDEN)
def test_golden_values(short_chain: Chain, tmp_path: Path, loss: str) -> None:
    run = train(tiny.offline(short_chain, loss=loss), tmp_path / "run")
    for name, expected in GOLDEN[loss].items():
        assert run.series(name)[1] == pytest.approx(expected, rel=1e-3, abs=1e-5), name


def test_a_named_reference_is_what_the_loss_compares_with(chain: Chain, tmp_path: Path) -> None:
    train(tiny.sft(seed=1), tmp_path / "reference")
    run = train(tiny.offline(chain, reference=str(tmp_path / "reference"), steps=1), tmp_path / "run")
    assert tiny.rows(run)[0]["loss"] != pytest.approx(math.log(2), abs=1e-2)


@pytest.mark.parametrize("prepend_bos", [False, True])
def test_pairs_of_a_run_with_another_vocabulary_travel_as_text(chain: Chain, tmp_path: Path, prepend_bos: bool) -> None:
    """The policy and the run that recorded the pairs share no id; the first look at the held-out pairs is by hand."""
    tokenizer = foreign.policys()
    tokenizer.bos_token = "<eos>"  # named, and put nowhere by the tokenizer itself
    model = foreign.save_policy(tmp_path / "policy", tokenizer)
    parents = Chain(tmp_path / "policy", chain.reward_model)
    config = tiny.offline(parents, steps=1, reward_model=None, prepend_bos=prepend_bos)
    run = train(config | {"max_completion_tokens": 128}, tmp_path / "run")
    sums: list[list[float]] = []
    for row in load_run(chain.reward_model).pairs():
        if row["heldout"]:
            bos = [tokenizer.bos_token_id] * prepend_bos
            prompt = bos + tokenizer.encode(row["prompt"])
            for side in ("chosen", "rejected"):
                text = " " + row[side] if row[side] else ""
                ids = bos + tokenizer.encode(row["prompt"] + text) + [tokenizer.eos_token_id] * row[f"{side}_ended"]
                with torch.no_grad():
                    logp_TV = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
                logp_T = logp_TV[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
                sums.append([float(logp_T[len(prompt) - 1 :].sum())])
    chosen, rejected = torch.tensor(sums).view(-1, 2).mean(0).tolist()
    row = next(row for row in run.evaluations("pairs") if row["step"] == 0)
    assert row["n"] == len(sums) / 2
    assert row["logps_chosen_sum"] == pytest.approx(chosen, rel=1e-5)
    assert row["logps_rejected_sum"] == pytest.approx(rejected, rel=1e-5)


def test_a_bos_that_the_tokenizer_does_not_have_cannot_be_prepended(chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="prepend_bos: the model's tokenizer names no token for the beginning"):
        train(tiny.offline(chain, prepend_bos=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_epochs_and_steps(chain: Chain, tmp_path: Path) -> None:
    assert len(tiny.rows(train(tiny.offline(chain, epochs=2), tmp_path / "two"))) == 8
    assert len(tiny.rows(train(tiny.offline(chain, epochs=2, steps=3), tmp_path / "three"))) == 3


def test_training_goes_on_from_an_offline_run(dpo: Run, chain: Chain, tmp_path: Path) -> None:
    run = train(tiny.offline(chain, policy=str(dpo.path), steps=1), tmp_path / "run")
    assert run.info["parents"][0]["hash"] == load_run(dpo.path).hash()
    assert tiny.close(
        run.evaluations("gold")[0]["ref_summary_logp_sum"], dpo.evaluations("gold")[-1]["ref_summary_logp_sum"]
    )


def test_bad_input_leaves_nothing_behind(chain: Chain, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for changes, message in [
        ({"batch_size": 65}, "batch_size: a batch needs 65 records, but there are 64 to train on"),
        (
            {"loss": "kto", "batch_size": 1},
            "batch_size: KTO pairs each prompt with another's completion; use 2 or more",
        ),
        ({"loss": {"name": "dpo", "beta": -0.1}}, "loss.beta: must be > 0"),
        ({"loss": {"name": "amopo", "prompts": ["Be kind."]}}, "loss.prompts.0: "),
        ({"loss": {"name": "simpo", "gamma": float("nan")}}, "loss.gamma: expected a finite number"),
        ({"loss": {"name": "simpo", "beta": 2.0}}, "loss.beta: "),
        (
            {"pairs": {"name": "run", "path": str(chain.policy)}},
            "pairs: .* is a run of stage sft; needed: reward_model",
        ),
        ({"pairs": "task"}, "pairs: the miniature task stores no preference pairs"),
        ({"max_completion_tokens": 1}, "batch_size: a batch needs 16 records"),
    ]:
        with pytest.raises(UserError, match=message):
            train(tiny.offline(chain, **changes), out)
        assert not out.exists(), message
