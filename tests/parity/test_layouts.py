"""TRL's trainers and ours on the same conversations: the tokens that each learns, and the first step's numbers.

Both read the same rows and tokenize them themselves: tiny weights under three layouts' tokenizers, and the chat
templates of these models as TRL keeps them. What TRL learns beside what we do, or instead:

|                                 | Llama 3             | Gemma                 | Phi-3                  |
| ------------------------------- | ------------------- | --------------------- | ---------------------- |
| SFT: completions, assistant     | equal               | a line feed behind    | <|endoftext|> behind   |
| turns, or whole conversations   |                     | <end_of_turn>         | <|end|>                |
| DPO                             | equal               | the same line feed    | the same <|endoftext|> |
| RLOO                            | equal               | equal                 | equal                  |
| DPO, prompts rendered by hand   | BOS twice, and EOS  | BOS twice, and EOS    | EOS behind <|end|>     |
|                                 | behind <|eot_id|>   | behind <end_of_turn>  |                        |
| an answer's own indentation     | lost                | lost                  | lost                   |

Ours is what plain transformers makes of the conversation, up to the end of the answer: no policy samples what TRL
learns behind it, since sampling stops there, in TRL too. Without these tokens TRL's numbers are ours. The texts that
functions score lack special tokens in TRL; ours have them, but for the end.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import trl
from datasets import Dataset
from families import LAYOUTS
from layouts import ARCHITECTURES, PAIRS, Layout, Row, letters, turn
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer, RLOOConfig, RLOOTrainer, SFTConfig, SFTTrainer

from overopt.engine.packing import Tree
from overopt.engine.sampler import sample_in_batches
from overopt.training import data, rollout
from overopt.training.rewards import add_rewards
from overopt.training.stages import online

BETA, KL, TEMPERATURE = 0.3, 0.05, 0.7
TEMPLATES = {
    name: (Path(trl.__file__).parent / "chat_templates" / f"{file}.jinja").read_text(encoding="utf-8")
    for name, file in {"Llama 3": "llama3", "Gemma": "gemma", "Phi-3": "phi3"}.items()
}
BEHIND = {"Llama 3": [], "Gemma": ["<0x0A>"], "Phi-3": ["<|endoftext|>"]}
"""What TRL learns behind the end of a turn: all that the template writes there."""


@pytest.fixture(params=ARCHITECTURES)
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> Layout:
    return Layout(request.param, tmp_path, TEMPLATES[request.param])


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], ...]]:
    """Every prompt that our training encodes with completions, and these."""
    trees = []

    def spy(prompt: list[int], completions: list[list[int]]) -> Tree:
        trees.append((prompt, *completions))
        return Tree(prompt, completions)

    monkeypatch.setattr(data, "Tree", spy)
    return trees


def behind(layout: Layout) -> list[int]:
    ids: list[int] = layout.tokenizer.convert_tokens_to_ids(BEHIND[layout.name])
    return ids


def loaded(layout: Layout, role: str) -> Any:
    model = AutoModelForCausalLM.from_pretrained(layout.folder / role)
    model.config._name_or_path = str(layout.folder / "reference")  # from here RLOOTrainer loads it
    return model


def trainer_of(trainer: Any, config: Any, layout: Layout, rows: list[dict[str, Any]], **more: Any) -> Any:
    """A trainer of TRL's whose one step sees all of the rows; `config` arguments beside the others."""
    arguments = more.pop("arguments", {})
    settings = config(
        output_dir=str(layout.folder / "trl"),
        per_device_train_batch_size=arguments.pop("per_device_train_batch_size", 4),
        max_steps=1,
        max_grad_norm=1e9,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        **arguments,
    )
    return trainer(
        model=loaded(layout, "policy"),
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=layout.tokenizer,
        **more,
    )


def first_step(trainer: Any, cut: dict[str, int] | None = None) -> dict[str, float]:
    """TRL's numbers of its first step, in our names; the columns in `cut` lose so many tokens at their end."""
    if cut:
        rows = [{k: v[: len(v) - cut.get(k, 0)] for k, v in row.items()} for row in columns(trainer)]
        trainer.train_dataset = Dataset.from_list(rows)
    trainer.train()
    logged = trainer.state.log_history[0]
    names = {"loss": "loss", "grad_norm": "grad_norm", "rewards_margin": "rewards/margins"}
    return {name: logged[theirs] for name, theirs in names.items() if theirs in logged}


def columns(trainer: Any) -> list[dict[str, list[int]]]:
    """What TRL made of the rows."""
    return [{k: v for k, v in row.items() if k.endswith("ids") or k == "labels"} for row in trainer.train_dataset]


def same(ours: dict[str, float], theirs: dict[str, float]) -> bool:
    return {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=1e-5, abs=1e-6)


def demonstrations() -> list[dict[str, Any]]:
    return [{"prompt": turn("user", p["prompt"]), "completion": turn("assistant", p["chosen"])} for p in PAIRS]


def preferences() -> list[dict[str, Any]]:
    return [
        {"prompt": turn("user", p["prompt"])} | {name: turn("assistant", p[name]) for name in ("chosen", "rejected")}
        for p in PAIRS
    ]


def conversations() -> list[dict[str, Any]]:
    return [{"messages": row["prompt"] + row["completion"]} for row in demonstrations()]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_short_templates_of_our_tests_write_what_the_models_own_do(name: str) -> None:
    short, own = LAYOUTS[name](), LAYOUTS[name]()
    own.chat_template = TEMPLATES[name]
    for row in conversations():
        for messages, asks in ((row["messages"][:1], True), (row["messages"], False), (row["messages"] * 2, False)):
            texts = [t.apply_chat_template(messages, tokenize=False, add_generation_prompt=asks) for t in (short, own)]
            assert texts[0] == texts[1]


FORMS: dict[str, tuple[Any, dict[str, bool], bool]] = {
    "completions": (demonstrations, {}, False),
    "assistant turns": (conversations, {"assistant_only_loss": True}, False),
    "whole conversations": (conversations, {}, True),
}
"""Rows, what TRL is asked, and whether the prompt is learnt."""


@pytest.mark.parametrize("form", FORMS)
def test_sft(layout: Layout, form: str, fed: list[tuple[list[int], ...]]) -> None:
    rows, arguments, whole = FORMS[form]
    ours = layout.sft(rows(), loss_on_prompt=whole)
    trainers = [trainer_of(SFTTrainer, SFTConfig, layout, rows(), arguments=arguments) for _ in range(2)]
    learnt: list[Row] = []
    for made, pair in zip(columns(trainers[0]), PAIRS, strict=True):
        prompt, completion = layout.row(pair["prompt"], pair["chosen"])
        assert (prompt, completion) in fed
        assert made["input_ids"] == prompt + completion + behind(layout)
        start = 0 if whole else len(prompt)
        assert made["labels"] == [-100] * start + made["input_ids"][start:]
        start = max(start, 1)
        learnt.append((made["input_ids"][:start], made["input_ids"][start:]))
    extra = len(behind(layout))
    theirs, shorter = first_step(trainers[0]), first_step(trainers[1], {"input_ids": extra, "labels": extra})
    assert same(layout.plain_sft(learnt), theirs)
    assert same(layout.plain_sft([(p, c[: len(c) - extra]) for p, c in learnt]), shorter)
    assert same(ours, shorter)
    assert same(ours, theirs) == (layout.name == "Llama 3")


def test_dpo(layout: Layout, fed: list[tuple[list[int], ...]]) -> None:
    ours = layout.dpo(preferences(), BETA)
    trainers = [dpo_trainer(layout, preferences()) for _ in range(2)]
    learnt: list[tuple[Row, Row]] = []
    for made, pair in zip(columns(trainers[0]), PAIRS, strict=True):
        (prompt, chosen), (_, rejected) = (layout.row(pair["prompt"], pair[name]) for name in ("chosen", "rejected"))
        assert (prompt, chosen, rejected) in fed
        theirs_of = [made["prompt_ids"], made["chosen_ids"], made["rejected_ids"]]
        assert theirs_of == [prompt, chosen + behind(layout), rejected + behind(layout)]
        learnt.append(((theirs_of[0], theirs_of[1]), (theirs_of[0], theirs_of[2])))
    extra = len(behind(layout))
    theirs, shorter = first_step(trainers[0]), first_step(trainers[1], {"chosen_ids": extra, "rejected_ids": extra})
    assert same(layout.plain_dpo(learnt, BETA), theirs)
    assert same(ours, shorter)
    assert same(ours, theirs) == (layout.name == "Llama 3")


def dpo_trainer(layout: Layout, rows: list[dict[str, Any]]) -> Any:
    reference = loaded(layout, "reference")
    return trainer_of(DPOTrainer, DPOConfig, layout, rows, arguments={"beta": BETA}, ref_model=reference)


def test_dpo_on_prompts_rendered_by_hand(layout: Layout, fed: list[tuple[list[int], ...]]) -> None:
    """As text, so that TRL's tokenizer puts a BOS before the template's, and TRL an EOS behind the end of the turn."""
    tokenizer, rows, once, doubled = layout.tokenizer, [], [], []
    bos, eos, end = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.decode(layout.ends[1])
    for pair in PAIRS:
        prompt = tokenizer.apply_chat_template(turn("user", pair["prompt"]), tokenize=False, add_generation_prompt=True)
        rows.append({"prompt": prompt} | {name: pair[name] + end for name in ("chosen", "rejected")})
        (ids, chosen), (_, rejected) = (layout.row(pair["prompt"], pair[name]) for name in ("chosen", "rejected"))
        front = [bos, *ids] if ids[0] != bos else ids
        once.append(((front, chosen), (front, rejected)))
        doubled.append((([bos, *ids], [*chosen, eos]), ([bos, *ids], [*rejected, eos])))
    ours = layout.dpo(rows, BETA, prompt_style="raw")
    assert all((prompt, chosen, rejected) in fed for (prompt, chosen), (_, rejected) in once)
    assert same(ours, layout.plain_dpo(once, BETA))
    trainer = dpo_trainer(layout, rows)
    made = [(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) for row in columns(trainer)]
    assert made == [(prompt, chosen, rejected) for (prompt, chosen), (_, rejected) in doubled]
    theirs = first_step(trainer)
    assert same(layout.plain_dpo(doubled, BETA), theirs) and not same(ours, theirs)


def test_a_completions_own_indentation(layout: Layout, fed: list[tuple[list[int], ...]]) -> None:
    """Two of the templates cut it off; Phi-3's token for the assistant swallows it. In ours it is content."""
    rows = [row | {"chosen": turn("assistant", "  " + row["chosen"][0]["content"])} for row in preferences()]
    layout.dpo(rows, BETA)
    ours = {tuple(prompt): chosen for prompt, chosen, *_ in fed}
    for made, pair in zip(columns(dpo_trainer(layout, rows)), PAIRS, strict=True):
        prompt, chosen = layout.row(pair["prompt"], pair["chosen"])
        assert (made["prompt_ids"], made["chosen_ids"]) == (prompt, chosen + behind(layout))
        word = layout.tokenizer.encode("x", add_special_tokens=False)
        assert "  " + pair["chosen"] in layout.tokenizer.decode(word + ours[tuple(prompt)])


class GivenCompletions(RLOOTrainer):  # type: ignore[misc]
    """RLOOTrainer that goes on with completions of ours to its own prompts."""

    given: dict[tuple[int, ...], list[list[int]]]

    def _generate_single_turn(self, prompt_ids: list[list[int]], *rest: Any) -> list[list[int]]:
        return [self.given[tuple(prompt)].pop(0) for prompt in prompt_ids]  # KeyError: its prompt is none of ours


def test_rloo(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is 0, since ratios are 1 and a group's advantages sum to 0: the gradient is what is compared."""
    seen: dict[str, Any] = {}

    def sampled(policy: Any, prompts: Any, *rest: Any, **how: Any) -> Any:
        samples = sample_in_batches(policy, prompts, *rest, **how)
        seen.update(ends=policy.end_ids, prompts=prompts, completions=samples.completions())
        return samples

    def scored(rewards: Any, score_B: Any, records: Any, completions: Any, *rest: Any) -> Any:
        seen.update(texts=[completion.text for completion in completions])
        return add_rewards(rewards, score_B, records, completions, *rest)

    monkeypatch.setattr(online, "SAMPLER_GAP", 0.0)  # old log-probabilities from the training forward, as TRL's are
    monkeypatch.setattr(rollout, "sample_in_batches", sampled)
    monkeypatch.setattr(rollout, "add_rewards", scored)
    rows = [{"prompt": turn("user", pair["prompt"])} for pair in PAIRS]
    kl = [{"name": "kl", "coef": KL}]
    ours = layout.rloo(rows, rewards=["layouts:letters"], regularizers=kl, loss="ppo_clip", temperature=TEMPERATURE)
    texts = dict(zip(map(tuple, seen["completions"]), seen["texts"], strict=True))

    def score(completions: Any, completion_ids: list[list[int]], **_: Any) -> list[float]:
        contents = [message["content"] for (message,) in completions]
        for ids, content in zip(completion_ids, contents, strict=True):
            assert content == without_specials(layout, texts[tuple(ids)])
        return letters(contents)

    arguments = {"num_generations": 4, "max_completion_length": 8, "beta": KL, "temperature": TEMPERATURE}
    arguments |= {"per_device_train_batch_size": 16, "top_k": 0}
    trainer = trainer_of(GivenCompletions, RLOOConfig, layout, rows, arguments=arguments, reward_funcs=score)
    assert set(trainer.generation_config.eos_token_id) == seen["ends"] == set(layout.ends)
    groups = [seen["completions"][i : i + 4] for i in range(0, 16, 4)]
    trainer.given = dict(zip(map(tuple, seen["prompts"]), groups, strict=True))
    theirs = first_step(trainer)
    logged = trainer.state.log_history[0]
    theirs |= {"score_mean": logged["reward"], "kl_ref": logged["kl"] * logged["completions/mean_length"]}
    theirs |= {"eos_rate": 1 - logged["completions/clipped_ratio"], "entropy_tok": logged["entropy"]}
    assert 0 < ours["eos_rate"] < 1 and ours["grad_norm"] > 1
    assert same(ours, theirs)


def without_specials(layout: Layout, text: str) -> str:
    names = [token.content for token in layout.tokenizer.added_tokens_decoder.values() if token.special]
    return re.sub("|".join(map(re.escape, names)), "", text)
