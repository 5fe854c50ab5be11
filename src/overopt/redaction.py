"""Blacks out secrets: what a judge or the Hub says passes through here before it is shown or written."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"
_SECRET_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
SHORTEST = 8
"""Values of fewer characters are not blacked out: they are placeholders, and would blacken ordinary words."""

# All on one line: what follows on the next one may be a judge's answer.
_FORMS: list[tuple[re.Pattern[str], str]] = [
    # A key, also as an endpoint that refuses it shows it (`sk-abcd****wxyz`); not the end of a word such as `task-`.
    (re.compile(r"(?<![A-Za-z0-9])sk-(?:[\w*.-]*\*{2}[\w*.-]*|[\w-]{16,})"), REDACTED),
    (
        re.compile(r"(?i)(\b(?:proxy-)?authorization[\"']?[ \t]*[:=][ \t]*[\"']?)(?:[a-z]+[ \t]+)?[^\s\"',;]+"),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"(?i)(\b(?:x-)?api[-_]?key[\"']?[ \t]*[:=][ \t]*[\"']?)[^\s\"',;&]+"), rf"\1{REDACTED}"),
    (re.compile(r"(?i)(\bbearer[ \t]+)(?=\S*\d)[\w.~+/=-]{8,}"), rf"\1{REDACTED}"),
    (re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s@\"']+@"), rf"\1{REDACTED}@"),
    (
        re.compile(
            r"(?i)([?&](?:x-amz-)?(?:key|token|access_token|sig|signature|credential|security-token)=)[^&\s\"']+"
        ),
        rf"\1{REDACTED}",
    ),
]


def redact(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return a text without secrets: no value of a variable named like `OPENAI_API_KEY`, in any common encoding, and
    nothing in the form of a key, an Authorization header, or credentials in a URL.
    """
    for secret in sorted(_secrets(environment), key=len, reverse=True):  # a short one may be a part of a long one
        text = text.replace(secret, REDACTED)
    for form, put in _FORMS:
        text = form.sub(put, text)
    return text


def excerpt(text: str, longest: int = 300) -> str:
    """Return the redacted beginning of a text on one line, control characters escaped, for an error or a notice."""
    line = " ".join(redact(text).split())  # redacted first: the beginning of a key would not be known as one
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    return line if len(line) <= longest else line[: longest - 3] + "..."


def _secrets(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        value = value.strip()
        if _SECRET_NAME.search(name) and len(value) >= SHORTEST:
            yield from {value, quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1]}
            yield base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()
