"""Invented texts for data sets: posts with summaries, and dialogues. They depend on their number alone."""

from __future__ import annotations

import random
from dataclasses import dataclass

WHO = ("sister", "neighbor", "roommate", "boss", "cousin", "landlord", "teacher", "friend", "uncle", "coworker")
DID = ("sold", "painted", "borrowed", "lost", "repaired", "hid", "found", "broke", "gave away", "photographed")
WHAT = ("bicycle", "piano", "garden", "radio", "old car", "tent", "coffee machine", "cat's bed", "camera", "bookshelf")
WHEN = ("last summer", "on Monday", "a year ago", "before the wedding", "during the storm", "while I was away")
FEELING = ("relieved", "annoyed", "puzzled", "grateful", "worried", "amused")
SUBREDDITS = ("relationships", "AskReddit", "tifu", "legaladvice", "pets", "jobs")
TASKS = ("Explain", "Describe", "List three facts about", "Write a short poem about", "Compare two kinds of")


@dataclass(frozen=True)
class Post:
    """A post with a faithful summary and a worse one."""

    id: str
    subreddit: str
    title: str
    post: str
    summary: str
    worse: str


def post(number: int, paragraphs: int = 3) -> Post:
    """A post of some paragraphs, of about thirty words each."""
    draw = random.Random(number)
    who, did, what, when, feeling = (draw.choice(words) for words in (WHO, DID, WHAT, WHEN, FEELING))
    body = [f"My {who} {did} my {what} {when}, and I am {feeling} about it."]
    for _ in range(paragraphs - 1):
        other, thing = draw.choice(WHO), draw.choice(WHAT)
        body.append(
            f"I asked the {other} what to do. They said that the {thing} was worth more than my {what}, and that the "
            f"{who} would surely do it again, whatever I say."
        )
    return Post(
        id=f"t3_{number:06d}",
        subreddit=draw.choice(SUBREDDITS),
        title=f"My {who} and the {what}",
        post="\n\n".join(body),
        summary=f"My {who} {did} my {what} {when}; I am {feeling}.",
        worse=f"Somebody did something to a {draw.choice(WHAT)}.",
    )


def dialogue(number: int, turns: int = 2) -> tuple[list[tuple[str, str]], str, str]:
    """Turns of (speaker, text) that end with the person's, a good answer and a worse one."""
    draw = random.Random(number)
    what, who = draw.choice(WHAT), draw.choice(WHO)
    spoken = [("Human", f"{draw.choice(TASKS)} a {what}, please. It is for my {who}.")]
    for _ in range(turns - 1):
        spoken.append(("Assistant", f"Gladly. What does your {who} like?"))
        spoken.append(("Human", f"My {who} likes the {draw.choice(WHAT)} and is often {draw.choice(FEELING)}."))
    good = f"A {what} is a fine thing for a {who}: it lasts for years, and it is easily repaired."
    return spoken, good, f"I do not know what a {draw.choice(WHAT)} is."


def instruction(number: int) -> str:
    draw = random.Random(number)
    return f"{draw.choice(TASKS)} a {draw.choice(WHAT)} that a {draw.choice(WHO)} {draw.choice(DID)}."
