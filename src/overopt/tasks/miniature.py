"""The miniature world: invented posts to summarize, imperfect reference summaries, and a gold reward known exactly.

A post states facts: who did what to which object (always), and two to four of where, when, how it felt and a question.
Each fact is one word that fills a slot (`SLOTS`) of a sentence template. A post is written as

    SUBREDDIT: <one of SUBREDDITS> POST: <sentences, each followed by "."> TL;DR:

with one main sentence, one sentence for each optional fact, up to two distractors (sentences that mention words of the
same slots that are no facts of the post) and, half of the time, filler. The sentences are shuffled; in seven of ten
posts the main one comes first, else second.

A reference summary is a main phrase followed by phrases for the optional facts in a fixed order, but each optional
fact is omitted with probability 0.45 and each fact is wrong with probability 0.03, so a policy that imitates the
references can be improved. The gold reward counts what is missing, wrong, repeated, ungrammatical, too long or
unended in a summary (`gold`); a perfect summary gets 0 and every flaw lowers it.

Everything is text over 142 words. There is no paraphrase and no ambiguity, so gold is never a matter of opinion.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import combinations, pairwise
from random import Random
from typing import Annotated

from pydantic import Field

from overopt.config import block
from overopt.errors import UserError
from overopt.tasks.base import PromptStyle, Report, TaskProtocol
from overopt.types import Completion, Dropped, Preference, PromptRecord

# --- The grammar. A template is a list of words; an upper-case word is a slot, which one of the slot's words fills.

_SLOT_WORDS = {
    "WHO": "mom dad sister brother boss roommate girlfriend boyfriend neighbor cousin teacher landlord",
    "ACT": "sold broke stole lost burned hid painted borrowed returned washed fixed threw",
    "OBJ": "car phone laptop bike guitar couch camera watch ring jacket tv dog",
    "PLACE": "work school church gym airport beach mall hospital park hotel",
    "TIME": "monday tuesday friday sunday yesterday march june august christmas easter",
    "FEEL": "sad angry guilty scared confused jealous lonely ashamed",
    "ASK": "leave apologize sue wait call quit complain forgive move pay",
}
SLOTS = {slot: words.split() for slot, words in _SLOT_WORDS.items()}
OPTIONAL = ["PLACE", "TIME", "FEEL", "ASK"]
SLOT_OF = {word: slot for slot, words in SLOTS.items() for word in words}

Template = list[str]
Story = dict[str, str]
"""From slots to the words that fill them."""


def _templates(*lines: str) -> list[Template]:
    return [line.split() for line in lines]


SUBREDDITS = ["r/relationships", "r/advice", "r/legal", "r/family", "r/work"]
POST_MAIN = _templates("my WHO ACT my OBJ", "so my WHO just ACT the OBJ", "the WHO ACT my old OBJ", "WHO ACT my OBJ")
POST_OPTIONAL = {
    "PLACE": _templates("this happened at PLACE", "we were at PLACE", "it was in the PLACE"),
    "TIME": _templates("it was on TIME", "this was last TIME", "since TIME"),
    "FEEL": _templates("i feel so FEEL", "now i am FEEL", "i am really FEEL about this"),
    "ASK": _templates("should i ASK", "do i ASK or what", "i want to ASK now"),
}
DISTRACTORS = _templates(
    "my WHO said it is fine",
    "i like the PLACE",
    "the OBJ was cheap",
    "last year i was FEEL",
    "then we were nice to WHO",
    "i said that on TIME",
    "they never ASK",
)
FILLER = _templates(
    "thanks for reading",
    "sorry long post",
    "throwaway account anyway",
    "it is what it is",
    "english is hard",
    "any help is nice",
)
SUMMARY_MAIN = _templates("WHO ACT my OBJ", "my WHO ACT my OBJ", "WHO ACT OBJ", "basically my WHO ACT the OBJ")
SUMMARY_OPTIONAL = {
    "PLACE": _templates("at PLACE", "in the PLACE"),
    "TIME": _templates("on TIME", "last TIME"),
    "FEEL": _templates("i feel FEEL", "i am FEEL", "and FEEL"),
    "ASK": _templates("should i ASK ?", "want to ASK", "ASK ?"),
}

OMISSION = 0.45
"""Probability that a reference omits an optional fact."""
MISTAKE = 0.03
"""Probability that a reference gets a fact wrong: it takes the word of a distractor, or else any word of the slot."""

START, EOS = "<start>", "<eos>"


def _fill(template: Template, story: Story) -> list[str]:
    return [story.get(word, word) for word in template]


def _vocabulary() -> list[str]:
    words = ["<pad>", EOS, "TL;DR:", "SUBREDDIT:", "TITLE:", "POST:", ".", ",", "?", *SUBREDDITS]
    for slot_words in SLOTS.values():
        words += slot_words
    optional = [template for group in (POST_OPTIONAL, SUMMARY_OPTIONAL) for slot in group.values() for template in slot]
    for template in FILLER + POST_MAIN + DISTRACTORS + SUMMARY_MAIN + optional:
        words += [word for word in template if word not in SLOTS]
    return list(dict.fromkeys(words))


# --- Posts and references. One random stream writes a data set, so a longer set begins with every shorter one.


def _story(rng: Random) -> Story:
    return {slot: rng.choice(words) for slot, words in SLOTS.items()}


def _post(rng: Random, story: Story, facts: Story) -> tuple[list[str], Story]:
    """The words of a post that states `facts`, and by slot the words that its distractors mention."""
    main = _fill(rng.choice(POST_MAIN), story)
    rest = [_fill(rng.choice(POST_OPTIONAL[slot]), facts) for slot in OPTIONAL if slot in facts]
    mentioned: Story = {}
    for _ in range(rng.randint(0, 2)):
        template, other = rng.choice(DISTRACTORS), _story(rng)
        mentioned.update({slot: other[slot] for slot in template if slot in SLOTS})
        rest.append(_fill(template, other))
    if rng.random() < 0.5:
        rest.append(rng.choice(FILLER))
    rng.shuffle(rest)
    sentences = [main, *rest] if rng.random() < 0.7 else [*rest[:1], main, *rest[1:]]
    words = ["SUBREDDIT:", rng.choice(SUBREDDITS), "POST:"]
    for sentence in sentences:
        words += [*sentence, "."]
    return [*words, "TL;DR:"], mentioned


def _reference(rng: Random, facts: Story, mentioned: Story, omission: float) -> list[str]:
    """The words of a reference summary, in which optional facts are omitted and a few facts are wrong."""
    told = dict(facts)
    for slot in facts:
        luck = rng.random()
        if luck < MISTAKE:
            told[slot] = mentioned.get(slot, rng.choice(SLOTS[slot]))
        elif luck < MISTAKE + omission and slot in OPTIONAL:
            del told[slot]
    words = _fill(rng.choice(SUMMARY_MAIN), told)
    for slot in OPTIONAL:
        if slot in told:
            words += [","] if rng.random() < 0.3 else []
            words += _fill(rng.choice(SUMMARY_OPTIONAL[slot]), told)
    return words


def write_post(rng: Random, prompt_id: str, omission: float = OMISSION) -> PromptRecord:
    """One post with its reference; `meta["facts"]` maps the slots of the facts that it states to their words."""
    story = _story(rng)
    kept = set(rng.sample(OPTIONAL, rng.choice([2, 3, 3, 4])))
    facts = {slot: word for slot, word in story.items() if slot not in OPTIONAL or slot in kept}
    post, mentioned = _post(rng, story, facts)
    reference = _reference(rng, facts, mentioned, omission)
    return PromptRecord(prompt_id, " ".join(post), " ".join(reference), {"facts": facts})


def write_posts(stream: str, count: int, omission: float = OMISSION) -> list[PromptRecord]:
    """The first `count` posts of a named random stream; streams of different names are independent.

    (Python derives a generator's state from a text by SHA-512.)
    """
    rng = Random(f"overopt miniature {stream}")
    return [write_post(rng, f"{stream}-{index}", omission) for index in range(count)]


# --- The gold reward. Each weight is a multiple of 0.1, so that a sum rounded to one decimal compares exactly.

PENALTIES = {"missing": 1.0, "wrong": 0.7, "repeated": 1.0, "illegal": 0.5, "over_length": 0.3, "unended": 1.0}
LENGTH_LIMIT = 18
"""Words that a summary may have at no cost: as many as the longest without commas that states all possible facts."""


@cache
def legal_bigrams() -> frozenset[tuple[str, str]]:
    """Every pair of adjacent words that a reference can contain, with words of slots replaced by the slots' names.

    Enumerated from the grammar: within a phrase, and from a phrase to any later one (optional facts keep their
    order and any of them may be absent), with or without a comma, or to the end of the summary.
    """
    chain = [SUMMARY_MAIN, *(SUMMARY_OPTIONAL[slot] for slot in OPTIONAL)]
    pairs = {pair for phrases in chain for phrase in phrases for pair in pairwise(phrase)}
    pairs |= {(START, phrase[0]) for phrase in SUMMARY_MAIN}
    pairs |= {(phrase[-1], EOS) for phrases in chain for phrase in phrases}
    for earlier, later in combinations(chain, 2):
        for phrase in earlier:
            pairs |= {(phrase[-1], ","), *((phrase[-1], following[0]) for following in later)}
        pairs |= {(",", following[0]) for following in later}
    return frozenset(pairs)


def _illegal(words: Iterable[str], ended: bool) -> int:
    """Pairs of adjacent words, start and end included, that no reference can contain."""
    classes = [START, *(SLOT_OF.get(word, word) for word in words), *([EOS] if ended else [])]
    legal = legal_bigrams()
    return sum(pair not in legal for pair in pairwise(classes))


def _count_facts(words: Iterable[str], facts: Story) -> tuple[int, int, int]:
    """Counts of words of slots: facts stated, words that are no facts of the post, repetitions of either."""
    mentioned = [word for word in words if word in SLOT_OF]
    different = set(mentioned)
    told = sum(facts.get(SLOT_OF[word]) == word for word in different)
    return told, len(different) - told, len(mentioned) - len(different)


def gold_parts(facts: Story, words: Sequence[str], ended: bool) -> dict[str, int]:
    """The counts that gold weighs. `unended` is 1 where no EOS followed."""
    told, wrong, repeated = _count_facts(words, facts)
    return {
        "missing": len(facts) - told,
        "wrong": wrong,
        "repeated": repeated,
        "illegal": _illegal(words, ended),
        "over_length": max(0, len(words) - LENGTH_LIMIT),
        "unended": 0 if ended else 1,
    }


def gold(facts: Story, words: Sequence[str], ended: bool) -> float:
    """The gold reward, -(missing + 0.7 wrong + repeated + 0.5 illegal + 0.3 over_length + unended).

    It is 0 for a grammatical summary of at most 18 words that states every fact once, nothing else, and ends.
    """
    parts = gold_parts(facts, words, ended)
    penalty = sum(weight * parts[flaw] for flaw, weight in PENALTIES.items())
    return 0.0 - round(penalty, 1)  # not `-round(...)`: that is -0.0 for a perfect summary


# --- The task.

Count = Annotated[int, Field(gt=0)]

FIRST_TEST_SEED = 100
"""Smaller seeds evaluate on the tuning split, these and larger ones on the test split, for which nothing is tuned."""


@block
class Miniature(TaskProtocol):
    """Invented posts and references with a known gold reward.

    All posts depend on the seed, except those for evaluation, of which there is one set below seed 100 and one above.
    """

    cheap_to_measure = True

    demonstration_count: Count = 16_000
    """Posts with references for SFT."""
    prompt_count: Count = 2_000
    """Posts to sample from while training online."""
    reward_test_count: Count = 600
    """Posts on which the reward model is tested, none of which it is trained on."""
    evaluation_count: Count = 256
    """Posts on which every checkpoint is evaluated."""
    omission: Annotated[float, Field(ge=0, le=1 - MISTAKE)] = OMISSION
    """Probability that a reference omits an optional fact: the smaller, the harder references are to beat."""
    report: Report = Report()
    """`{samples: hidden}` keeps the texts out of reports."""

    @property
    def prompt_style(self) -> PromptStyle:
        return "raw"

    @property
    def has_gold(self) -> bool:
        return True

    def vocabulary(self) -> list[str] | None:
        return _vocabulary()

    def demonstrations(self, seed: int, dropped: Dropped) -> list[PromptRecord]:
        return write_posts(f"demonstration-{seed}", self.demonstration_count, self.omission)

    def prompts(self, seed: int, dropped: Dropped) -> list[PromptRecord]:
        return write_posts(f"prompt-{seed}", self.prompt_count, self.omission)

    def pair_prompts(self, seed: int, n: int) -> list[PromptRecord]:
        return write_posts(f"pair-{seed}", n, self.omission)

    def reward_test_prompts(self, seed: int) -> list[PromptRecord]:
        return write_posts(f"reward-test-{seed}", self.reward_test_count, self.omission)

    def preferences(self, seed: int, dropped: Dropped) -> list[Preference]:
        raise UserError("pairs: the miniature task stores no preference pairs; let the policy sample them ('sampled')")

    def evaluation_preferences(self, seed: int, dropped: Dropped) -> tuple[str, list[Preference]]:
        return self.evaluation(seed, dropped)[0], self.preferences(seed, dropped)

    def evaluation(self, seed: int, dropped: Dropped) -> tuple[str, list[PromptRecord]]:
        split = "tuning" if seed < FIRST_TEST_SEED else "test"
        return split, write_posts(f"evaluation-{split}", self.evaluation_count, self.omission)

    def gold(self, record: PromptRecord, completion: Completion) -> float | None:
        return gold(record.meta["facts"], completion.text.split(), completion.ended)
