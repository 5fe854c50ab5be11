from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import foreign
import pytest
import tiny
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification

from overopt.engine.packing import Tree
from overopt.errors import UserError
from overopt.models.load import load_reward_model
from overopt.models.reward_model import RewardModel
from overopt.models.scorer import Scorer, check_finite
from overopt.models.text import Codec, word_tokenizer
from overopt.tasks.base import PromptStyle
from overopt.types import Completion, PromptRecord

CPU = torch.device("cpu")
PROMPTS = [PromptRecord(str(i), text) for i, text in enumerate(foreign.texts(100))]
COMPLETIONS = [Completion(text, ended=i % 3 > 0) for i, text in enumerate(foreign.texts(200, seed=7))]
STYLES: tuple[PromptStyle, ...] = ("raw", "chat_template")


def trees_of(codec: Codec) -> list[Tree]:
    """As a policy would have written them: two completions of every prompt."""
    ids = [codec.completion(completion) for completion in COMPLETIONS]
    return [Tree(codec.prompt(record), ids[2 * i : 2 * i + 2]) for i, record in enumerate(PROMPTS)]


def plain_scores(folder: Path, style: PromptStyle) -> torch.Tensor:
    plain = foreign.Plain.load(folder)
    ask = plain.raw if style == "raw" else plain.chat
    return torch.tensor([ask(PROMPTS[i // 2].prompt, c.text, c.ended) for i, c in enumerate(COMPLETIONS)])


def scored(folder: Path, written: Codec) -> tuple[torch.Tensor, Scorer]:
    scorer = Scorer(load_reward_model(folder, CPU), written)
    return scorer.score(PROMPTS, COMPLETIONS, trees_of(written), 400), scorer


@pytest.mark.parametrize("style", STYLES)
def test_200_texts_by_a_foreign_tokenizer_and_template_score_as_transformers_says(
    tmp_path: Path, style: PromptStyle
) -> None:
    foreign.save_reward_model(tmp_path, foreign.reward_models())
    written = Codec(foreign.policys(), style)
    score_B, scorer = scored(tmp_path, written)
    torch.testing.assert_close(score_B, plain_scores(tmp_path, style), atol=1e-5, rtol=0)
    (notice,) = scorer.notices[:1]
    assert str(tmp_path) in notice and "tokens are only here" in notice
    assert not torch.allclose(score_B[0], score_B[1])


@pytest.mark.parametrize("style", STYLES)
def test_with_one_tokenizer_and_template_the_ids_are_scored_as_they_are(tmp_path: Path, style: PromptStyle) -> None:
    foreign.save_reward_model(tmp_path, foreign.policys())
    written = Codec(foreign.policys(), style)
    score_B, scorer = scored(tmp_path, written)
    assert scorer.direct and scorer.notices == []
    torch.testing.assert_close(score_B, plain_scores(tmp_path, style), atol=1e-5, rtol=0)
    if style == "raw":
        assert torch.equal(score_B, scorer.reward_model.score_trees(trees_of(written), 400))


def test_one_tokenizer_and_another_template(tmp_path: Path) -> None:
    template = foreign.CHATML.replace("assistant", "helper").replace("m['role']", "m['role'][:1]")
    foreign.save_reward_model(tmp_path, foreign.policys(template=template))
    written = Codec(foreign.policys(), "chat_template")
    score_B, scorer = scored(tmp_path, written)
    assert scorer.notices == [f"{scorer.name} has a chat template of its own; it scores each text under that one"]
    plain = foreign.Plain.load(tmp_path)
    cut = [i for i, completion in enumerate(COMPLETIONS) if not completion.ended]
    expected = plain_scores(tmp_path, "chat_template")
    torch.testing.assert_close(score_B[cut], expected[cut], atol=1e-5, rtol=0)
    # an answer is scored behind the words that ask for it, though this template writes others when it is over
    asked = plain.tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPTS[0].prompt}], tokenize=False, add_generation_prompt=True
    )
    assert float(score_B[1]) == pytest.approx(plain.score(f"{asked}{COMPLETIONS[1].text}<|im_end|>\n"), abs=1e-5)


def test_the_same_function_with_its_vocabulary_in_another_order_scores_alike(tmp_path: Path) -> None:
    words = ["<pad>", "<eos>", *foreign.WORDS]
    here, there = word_tokenizer(words), word_tokenizer(["<eos>", "<pad>", *foreign.WORDS[::-1]])
    there.pad_token, there.eos_token = "<pad>", "<eos>"
    one = foreign.save_reward_model(tmp_path / "one", here)
    two = foreign.save_reward_model(tmp_path / "two", there)
    order = torch.tensor([here.convert_tokens_to_ids(w) for w in there.convert_ids_to_tokens(range(len(there)))])
    two.load_state_dict(one.state_dict())
    with torch.no_grad():
        two.model.embed_tokens.weight.copy_(one.model.embed_tokens.weight[order])
    two.save_pretrained(tmp_path / "two")
    written = Codec(here, "raw")
    first, second = scored(tmp_path / "one", written)[0], scored(tmp_path / "two", written)[0]
    torch.testing.assert_close(first, second, atol=1e-5, rtol=0)


@pytest.mark.parametrize("style", STYLES)
def test_one_whose_end_is_its_padding_is_read_where_transformers_reads_it(tmp_path: Path, style: PromptStyle) -> None:
    template = foreign.CHATML.replace(" + '\n' }}{% endfor", " }}{% endfor")  # it ends in the padding, too
    assert template != foreign.CHATML
    tokenizer = foreign.policys(pad="<|im_end|>", template=template)
    foreign.save_reward_model(tmp_path, tokenizer)
    score_B, _ = scored(tmp_path, Codec(foreign.policys(), style))
    torch.testing.assert_close(score_B, plain_scores(tmp_path, style), atol=1e-5, rtol=0)


def test_our_own_is_read_at_its_end_even_if_that_is_its_padding(tmp_path: Path) -> None:
    policy = tiny.policy()
    policy.pad_id = policy.tokenizer.eos_token_id  # as of a tokenizer that names no padding
    ours = RewardModel.from_policy(policy, torch.Generator().manual_seed(0), "raw")
    trees = [Tree(tree.prompt, [c]) for tree in tiny.TREES for c in tree.completions]
    ours.save(tmp_path)
    plain = foreign.Plain.load(tmp_path)
    with torch.no_grad():
        logits = [float(plain.model(torch.tensor([[*t.prompt, *t.completions[0]]])).logits) for t in trees]
    torch.testing.assert_close(ours.score_trees(trees, 1000), torch.tensor(logits), atol=1e-5, rtol=0)


def test_ours_is_asked_in_the_style_that_its_folder_names(tmp_path: Path) -> None:
    tokenizer = foreign.policys()
    foreign.save_reward_model(tmp_path, tokenizer, reward_prompt_style="raw")
    written = Codec(tokenizer, "chat_template")
    score_B, scorer = scored(tmp_path, written)
    torch.testing.assert_close(score_B, plain_scores(tmp_path, "raw"), atol=1e-5, rtol=0)
    (notice,) = scorer.notices
    assert "was trained under prompt_style raw, and the task's is chat_template" in notice


def test_without_a_template_a_foreign_one_is_asked_in_raw_text_and_says_so(tmp_path: Path) -> None:
    foreign.save_reward_model(tmp_path, foreign.reward_models(template=None))
    score_B, scorer = scored(tmp_path, Codec(foreign.policys(), "chat_template"))
    torch.testing.assert_close(score_B, plain_scores(tmp_path, "raw"), atol=1e-5, rtol=0)
    assert "has no chat template" in scorer.notices[-1]
    foreign.save_reward_model(tmp_path, foreign.reward_models(template=None), reward_prompt_style="chat_template")
    with pytest.raises(UserError, match="was trained under chat_template, but its tokenizer has no chat template"):
        scored(tmp_path, Codec(foreign.policys(), "chat_template"))


def test_an_id_beyond_its_rows_is_read_as_text(tmp_path: Path) -> None:
    """A policy whose head was padded may sample an id that no tokenizer names."""
    foreign.save_reward_model(tmp_path, foreign.policys())
    written = Codec(foreign.policys(), "raw")
    scorer = Scorer(load_reward_model(tmp_path, CPU), written)
    ids = [5, 6, 400]
    completion = written.decode(ids)
    score_B = scorer.score(PROMPTS[:1], [completion], [Tree(written.prompt(PROMPTS[0]), [ids])], 400)
    expected = foreign.Plain.load(tmp_path).raw(PROMPTS[0].prompt, completion.text, completion.ended)
    assert float(score_B) == pytest.approx(expected, abs=1e-5)


def test_what_is_encoded_again_does_not_depend_on_the_policys_ids(tmp_path: Path) -> None:
    foreign.save_reward_model(tmp_path, foreign.reward_models())
    first, scorer = scored(tmp_path, Codec(foreign.policys(), "raw"))
    assert torch.equal(scorer.score(PROMPTS, COMPLETIONS, [Tree([1], [[2], [2]])] * 100, 400), first)


def test_rotated_positions_have_no_end(tmp_path: Path) -> None:
    foreign.save_reward_model(tmp_path, foreign.reward_models(), max_position_embeddings=12)
    score_B, scorer = scored(tmp_path, Codec(foreign.policys(), "raw"))
    torch.testing.assert_close(score_B, plain_scores(tmp_path, "raw"), atol=1e-5, rtol=0)
    assert scorer.cut == 0


@pytest.mark.parametrize("bos", [None, "<end>"])
def test_a_text_longer_than_its_table_of_positions_is_scored_without_its_beginning(
    tmp_path: Path, bos: str | None
) -> None:
    tokenizer = foreign.reward_models(bos_token=bos)
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 12, "num_labels": 1, "initializer_range": 0.3}
    config = GPT2Config(vocab_size=len(tokenizer), eos_token_id=0, bos_token_id=0, **sizes)
    torch.manual_seed(1)
    model = GPT2ForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    written, told = Codec(foreign.policys(), "raw"), []
    scorer = Scorer(load_reward_model(tmp_path, CPU), written, told.append)
    score_B = scorer.score(PROMPTS, COMPLETIONS, trees_of(written), 400)
    expected, long = [], 0
    for i, completion in enumerate(COMPLETIONS):
        text = PROMPTS[i // 2].prompt + (f" {completion.text}" if completion.text else "") + "<end>" * completion.ended
        ids = tokenizer(text)["input_ids"]
        assert (ids[0] == 0) is bool(bos)
        long += len(ids) > 12
        ids = ids if len(ids) <= 12 else [0, *ids[-11:]] if bos else ids[-12:]
        with torch.no_grad():
            expected.append(float(model(torch.tensor([ids])).logits))
    torch.testing.assert_close(score_B, torch.tensor(expected), atol=1e-5, rtol=0)
    assert 20 < scorer.cut == long < 180
    assert [line.split(" so far")[0].rsplit(" ", 1)[1] for line in told] == ["1", "10", "100"][: len(told)]
    assert f"reward_model: {tmp_path}: a text is" in told[0] and "it reads 12 at once" in told[0]


def test_a_text_of_which_its_tokenizer_keeps_nothing_has_a_score(tmp_path: Path) -> None:
    tokenizer = word_tokenizer(["<pad>", "<eos>", *foreign.WORDS])
    model = foreign.save_reward_model(tmp_path, tokenizer)
    written = Codec(foreign.policys(), "raw")
    scorer = Scorer(load_reward_model(tmp_path, CPU), written)
    records, texts = [PromptRecord("0", "\n")], [Completion("rain sea", ended=False), Completion("", ended=False)]
    score_B = scorer.score(records, texts, [Tree([5], [[6, 7], [8]])], 400)
    with torch.no_grad():
        ids = (tokenizer("rain sea")["input_ids"], [tokenizer.eos_token_id])
        expected = [float(model.eval()(torch.tensor([row])).logits) for row in ids]
    torch.testing.assert_close(score_B, torch.tensor(expected), atol=1e-5, rtol=0)


def test_scores_that_no_update_could_use_are_refused_by_name(tmp_path: Path) -> None:
    model = foreign.save_reward_model(tmp_path, foreign.policys())
    written = Codec(foreign.policys(), "raw")
    scorer = Scorer(load_reward_model(tmp_path, CPU), written)
    for broken in (float("nan"), float("inf")):
        with torch.no_grad():
            scorer.reward_model.head.weight[0, 0] = broken
        with pytest.raises(UserError, match=f"reward_model: {tmp_path} gave 200 of 200 .* are its weights damaged"):
            scorer.score(PROMPTS, COMPLETIONS, trees_of(written), 400)
    assert model.config.num_labels == 1
    check_finite(torch.tensor([1e18, -1e18]), "f", "mend it")
    with pytest.raises(UserError, match=r"f gave 1 of 2 completions .*\(completion 1: -1e\+20\); mend it"):
        check_finite(torch.tensor([1.0, -1e20]), "f", "mend it")


def test_a_token_that_the_reward_model_has_no_row_for_is_named(tmp_path: Path) -> None:
    tokenizer = foreign.reward_models()
    foreign.save_reward_model(tmp_path, tokenizer)
    tokenizer.add_tokens(["rain"])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="the tokenizer makes 'rain' token .*, and the model knows"):
        scored(tmp_path, Codec(foreign.policys(), "raw"))


def test_an_answer_that_stopped_at_another_end_is_read_with_the_one_it_was_trained_on(tmp_path: Path) -> None:
    foreign.save_reward_model(tmp_path, foreign.policys())
    other = 5
    written = Codec(foreign.policys(), "chat_template", frozenset({other}))

    def stopped(ids: Sequence[int]) -> list[int]:
        return [*ids[:-1], other] if ids[-1] == written.end_id else [*ids]

    trees = [Tree(tree.prompt, [stopped(ids) for ids in tree.completions]) for tree in trees_of(written)]
    scorer = Scorer(load_reward_model(tmp_path, CPU), written)
    assert torch.equal(scorer.score(PROMPTS, COMPLETIONS, trees, 400), scored(tmp_path, written)[0])


HOUSES = {"bytes": foreign.reward_models, "sentencepiece": foreign.sentencepiece_like}
"""Tokenizers of reward models: byte-level as GPT-2's, and with ▁, BOS, byte fallback and NFKC as Llama 2's and T5's."""
CUT_AT = 9


def sampled(written: Codec) -> tuple[list[PromptRecord], list[Completion], list[Tree], list[str]]:
    """200 texts as a policy writes them: every third is cut at a limit of tokens, also within a character.

    Beside them the text that the policy's own tokenizer makes of each one's ids.
    """
    records, completions, trees, texts = [], [], [], []
    for i, (prompt, text) in enumerate(zip(foreign.unicode_texts(200), foreign.unicode_texts(200, 7), strict=True)):
        record = PromptRecord(str(i), prompt.strip() or "cat")
        ids = written.completion(Completion(text, ended=i % 3 > 0), record)
        ids = ids if i % 3 else ids[:CUT_AT]
        records.append(record)
        completions.append(written.decode(ids, record))
        trees.append(Tree(written.prompt(record), [ids]))
        texts.append(written.tokenizer.decode(ids[: len(ids) - (i % 3 > 0)], clean_up_tokenization_spaces=False))
    return records, completions, trees, texts


@pytest.mark.parametrize("house", HOUSES)
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("positions", [256, 16])
def test_200_texts_of_all_scripts_cut_and_templated_score_as_transformers_says(
    tmp_path: Path, style: PromptStyle, house: str, positions: int
) -> None:
    """The reward model reads a text alone, as one string; with a table of 16 positions, what fits of its end."""
    tokenizer = HOUSES[house]()
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": positions, "num_labels": 1}
    ids = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    torch.manual_seed(1)
    model = GPT2ForSequenceClassification(GPT2Config(**ids, **sizes, initializer_range=0.3)).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    written = Codec(foreign.policys(), style)
    records, completions, trees, texts = sampled(written)
    scorer = Scorer(load_reward_model(tmp_path, CPU), written, lambda text: None)
    scores = scorer.score(records, completions, trees, 400)
    expected, cut, spoiled = [], 0, 0
    for i, (record, text) in enumerate(zip(records, texts, strict=True)):
        read = plain_ids(tokenizer, style, record.prompt, text, i % 3 > 0)
        spoiled += "�" in text
        if len(read) > positions:
            cut += 1
            bos = read[:1] if read[0] == tokenizer.bos_token_id else []
            read = bos + read[len(read) - positions + len(bos) :]
        with torch.no_grad():
            expected.append(float(model(torch.tensor([read])).logits))
    torch.testing.assert_close(scores, torch.tensor(expected), atol=1e-5, rtol=0)
    assert scorer.cut == cut and (cut > 100) is (positions == 16)
    assert spoiled > 5 and float(scores.std()) > 0.05


def plain_ids(tokenizer: Any, style: PromptStyle, prompt: str, text: str, ended: bool) -> list[int]:
    """What transformers makes of a text that is written as a whole."""
    if style == "raw":
        whole = prompt + (text if text[:1].isspace() or not text else f" {text}") + tokenizer.eos_token * ended
        return list(tokenizer(whole)["input_ids"])
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}]
    whole = tokenizer.apply_chat_template(turns[: 1 + ended], tokenize=False, add_generation_prompt=not ended)
    return list(tokenizer(whole + text * (not ended), add_special_tokens=False)["input_ids"])
