from __future__ import annotations

import errno

import pytest

from overopt.errors import UserError
from overopt.hub.errors import asking, explain, page_of
from overopt.hub.names import HubName

NAME = HubName("dataset", "owner/data")


def test_what_nothing_better_is_known_of_is_shown_in_the_librarys_words_without_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    with pytest.raises(UserError) as refused, asking(NAME):
        raise RuntimeError("one\ntwo hf_0123456789")
    assert str(refused.value) == "hf://datasets/owner/data: cannot be fetched (RuntimeError: one two [redacted])"
    assert refused.value.__cause__ is None and refused.value.__suppress_context__


def test_the_users_own_errors_and_interrupts_pass() -> None:
    for error in (UserError("mine"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as passed, asking(NAME):
            raise error
        assert passed.value is error


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "is full; make room"), (errno.EDQUOT, "is full"), (errno.EROFS, "cannot be written; set HF_HOME")],
)
def test_a_cause_deep_in_the_chain_counts(number: int, said: str) -> None:
    error = RuntimeError("could not move")
    error.__context__ = OSError(number, "x")
    assert said in explain(NAME, error)


def test_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub")
    assert page_of(NAME) == "https://hub/datasets/owner/data"
    assert page_of(HubName("model", "a/b", "v1")) == "https://hub/a/b"
