from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overopt.redaction import excerpt, redact

KEY = 'plant/ed+key=9f"27'
ENVIRONMENT = {"OPENAI_API_KEY": KEY, "HF_TOKEN": "hf_abcdefgh", "SHORT_KEY": "none", "TOKENS": "Preferred"}


@pytest.mark.parametrize(
    "text",
    [
        f"the key {KEY} is wrong",
        "in a query: plant%2Fed%2Bkey%3D9f%2227",
        'in JSON: plant/ed+key=9f\\"27',
        "in base64: " + base64.b64encode(KEY.encode()).decode(),
        "another: hf_abcdefgh",
    ],
)
def test_the_values_of_secret_variables_in_every_encoding(text: str) -> None:
    shown = redact(text, ENVIRONMENT)
    assert "[redacted]" in shown and "9f" not in shown and "cGxh" not in shown and "hf_" not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "Incorrect API key provided: sk-abcd****wxyz, says the API",
            "Incorrect API key provided: [redacted], says the API",
        ),
        ("sk-proj-0123456789abcdef and (sk-ant-0123456789abcdef)", "[redacted] and ([redacted])"),
        ("Authorization: Bearer abc.def", "Authorization: [redacted]"),
        ("{'authorization': 'Basic dXNlcg=='}", "{'authorization': '[redacted]'}"),
        ('{"x-api-key": "abc"}', '{"x-api-key": "[redacted]"}'),
        ("sent Bearer 0123456789", "sent Bearer [redacted]"),
        ("https://user:password@host/v1?a=b", "https://[redacted]@host/v1?a=b"),
        ("https://host/v1?token=abc&a=b", "https://host/v1?token=[redacted]&a=b"),
        ("https://cdn/x?a=b&X-Amz-Signature=0f1e", "https://cdn/x?a=b&X-Amz-Signature=[redacted]"),
    ],
)
def test_forms_of_secrets(text: str, shown: str) -> None:
    assert redact(text, {}) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Preferred: A",
        "a task-oriented-and-risk-averse-person uses sk-learn",
        "the bearer certificates are at https://host/path@2x.png",
        "none of the tokens",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert redact(text, ENVIRONMENT) == text


def test_an_answer_on_the_next_line_stays() -> None:
    for word in ("Authorization:", "x-api-key =", "the bearer"):
        assert redact(f"{word}\nPreferred:1 A", {}) == f"{word}\nPreferred:1 A"


@given(st.text(), st.text(), st.text(alphabet=st.characters(codec="ascii", exclude_categories=["C", "Z"]), min_size=8))
def test_no_text_around_a_secret_hides_it(before: str, after: str, secret: str) -> None:
    assert secret not in redact(before + secret + after, {"A_KEY": secret}).replace("[redacted]", "\n")


def test_a_long_secret_that_holds_a_short_one_leaves_no_rest() -> None:
    assert redact("abcdefgh-ijklmnop", {"A_KEY": "abcdefgh", "B_KEY": "abcdefgh-ijklmnop"}) == "[redacted]"


def test_an_excerpt_is_cut_after_it_was_redacted_and_holds_no_control_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "0123456789")
    assert excerpt("x" * 5 + "0123456789", longest=11) == "xxxxx[re..."
    assert excerpt("two\nlines \x1b[31mred") == "two lines \\x1b[31mred"
