"""Which questions a study answers, and its answers as files: a page, and an SVG and a JSON for each question."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

from overopt.analysis.charts import render
from overopt.errors import UserError
from overopt.replication.members import Members
from overopt.replication.questions import algorithm, early_signs, equal_kl, implementation_details, preference_data
from overopt.replication.questions.answer import Answer

QUESTIONS: Mapping[str, tuple[Callable[[Members], Answer], ...]] = {
    "algorithm": (algorithm.answer,),
    "preference-data": (preference_data.answer,),
    "implementation-details": (implementation_details.answer,),
    "maxent-failure-modes": (equal_kl.answer, early_signs.answer),
}
"""By the name of the study whose runs answer them."""

FOLDER, PAGE = "answers", "answers.html"


def answers_of(members: Members) -> list[Answer]:
    """The answers that a study's runs give; none for a study without questions."""
    return [answer(members) for answer in QUESTIONS.get(members.study, ())]


def write_answer(members: Members, out: Path) -> list[Path]:
    """Write `answers.html`, and for each question `answers/NAME.json` and `answers/NAME.svg`; the files written."""
    found = answers_of(members)
    drawn = {answer.name: render(answer.chart.to_dict(), "svg") for answer in found if answer.chart is not None}
    files = {out / FOLDER / f"{answer.name}.json": _json(answer, members) for answer in found}
    files |= {out / FOLDER / f"{name}.svg": svg for name, svg in drawn.items()}
    if found:
        files[out / PAGE] = _page(members, found, drawn)
    for file, content in files.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        except OSError as error:
            raise UserError(f"{file}: cannot be written ({error.strerror}); choose another --out") from None
    return list(files)


def _json(answer: Answer, members: Members) -> bytes:
    content = {
        "question": answer.question,
        "study": members.study,
        "scale": members.scale,
        "seeds": members.seeds,
        "decision": answer.decision,
        "paragraph": answer.paragraph,
        "table": answer.table,
    }
    return json.dumps(content, indent=1).encode()


def _page(members: Members, answers: Sequence[Answer], drawn: Mapping[str, bytes]) -> bytes:
    parts = [
        f"<h2>{escape(answer.question)}</h2>\n<p><b>{escape(answer.decision)}.</b> {escape(answer.paragraph)}</p>\n"
        + drawn.get(answer.name, b"").decode()
        for answer in answers
    ]
    about = f"{members.study}, {members.scale}, {len(members.seeds)} seeds"
    return _PAGE.format(title=escape(about), body="\n".join(parts)).encode()


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }}
svg {{ max-width: 100%; height: auto }}
</style>
<h1>{title}</h1>
{body}
</html>
"""
