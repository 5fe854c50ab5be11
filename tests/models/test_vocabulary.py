from __future__ import annotations

from pathlib import Path

import foreign
import pytest
import torch

from overopt.errors import UserError
from overopt.models.load import load_policy
from overopt.models.text import word_tokenizer
from overopt.models.vocabulary import check_reference, encode_identically, vocabulary_differences

CPU = torch.device("cpu")
WORDS = ["<pad>", "<eos>", "cat", "dog", "sea"]


def test_the_same_words_in_another_order_are_another_vocabulary() -> None:
    here, there = word_tokenizer(WORDS), word_tokenizer(["<pad>", "<eos>", "dog", "cat", "sea"])
    assert vocabulary_differences(here, word_tokenizer(WORDS)) == []
    assert vocabulary_differences(here, there) == [
        "2 of 5 tokens have another id ('cat' is 2 here and 3 there, 'dog' is 3 here and 2 there)"
    ]


def test_missing_tokens_and_ends_are_named_and_padding_is_not() -> None:
    here, there = word_tokenizer(WORDS), word_tokenizer(WORDS[:4])
    assert vocabulary_differences(here, there) == ["1 tokens are only here ('sea')"]
    assert vocabulary_differences(there, here) == ["1 tokens are only there ('sea')"]
    there = word_tokenizer(WORDS)
    there.pad_token = "sea"
    assert vocabulary_differences(here, there) == []
    there.eos_token = "dog"
    assert vocabulary_differences(here, there) == ["the end of a sequence is '<eos>' (1) here and 'dog' (3) there"]
    there = word_tokenizer(WORDS)
    there.add_tokens(["a", "b", "c", "d"])
    assert vocabulary_differences(here, there) == ["4 tokens are only there ('a', 'b', 'c', ...)"]


def test_one_vocabulary_cut_otherwise() -> None:
    from tokenizers import normalizers

    here, there = foreign.policys(), foreign.policys()
    assert encode_identically(here, there)
    there.backend_tokenizer.enable_padding()  # no part of what a text becomes here
    assert encode_identically(here, there)
    there.backend_tokenizer.normalizer = normalizers.Lowercase()
    assert vocabulary_differences(here, there) == [] and not encode_identically(here, there)


def test_a_reference_with_other_ids_is_refused(tmp_path: Path) -> None:
    foreign.save_policy(tmp_path / "policy", word_tokenizer(WORDS))
    foreign.save_policy(tmp_path / "other", word_tokenizer(["<pad>", "<eos>", "dog", "cat", "sea"]))
    padded = word_tokenizer(WORDS)
    padded.pad_token = "<eos>"  # as many save it
    foreign.save_policy(tmp_path / "padded", padded)
    policy, other, same = (load_policy(tmp_path / name, CPU) for name in ("policy", "other", "padded"))
    check_reference(policy, same, dense=True)
    with pytest.raises(
        UserError, match=r"reference: .*other does not .* policy .*policy here.*: 2 of 5 tokens .*'cat'"
    ):
        check_reference(policy, other)


def test_whole_distributions_need_heads_of_one_size(tmp_path: Path) -> None:
    foreign.save_policy(tmp_path / "policy", word_tokenizer(WORDS))
    wide = foreign.save_policy(tmp_path / "wide", word_tokenizer(WORDS))
    wide.resize_token_embeddings(8)
    wide.save_pretrained(tmp_path / "wide")
    policy, reference = load_policy(tmp_path / "policy", CPU), load_policy(tmp_path / "wide", CPU)
    check_reference(policy, reference)  # of sampled tokens the padded rows take nothing away
    with pytest.raises(UserError, match="its head has 8 rows, the policy's 5"):
        check_reference(policy, reference, dense=True)
