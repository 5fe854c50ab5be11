"""What a chat template is given, and what is made of what it refuses or writes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from families import CHATML, LAYOUTS, asked, chat

from overopt.errors import UserError
from overopt.models.chat_template import ChatTemplate, Turn
from overopt.models.text import Codec
from overopt.types import PromptRecord


@pytest.mark.parametrize(
    ("name", "lead", "gap", "end", "rest"),
    [("Qwen", "", "", "<|im_end|>", "\n"), ("Llama 2", " ", " ", "</s>", ""), ("Gemma", "", "", "<end_of_turn>", "\n")],
)
def test_the_parts_of_an_assistants_turn(name: str, lead: str, gap: str, end: str, rest: str) -> None:
    tokenizer = LAYOUTS[name]()
    turn = ChatTemplate(tokenizer, None).turn(tokenizer.get_added_vocab())
    question = [{"role": "user", "content": "x"}]
    opening = tokenizer.apply_chat_template(question, add_generation_prompt=True, tokenize=False)
    assert turn == Turn(opening, lead, gap, end, rest)


def test_what_a_template_raises_is_said_with_the_records_place() -> None:
    gemma = chat("Gemma")
    system = {"role": "system", "content": "be brief"}
    with pytest.raises(UserError, match=r"^data.jsonl:3: the model's chat template .*: System role not supported"):
        gemma.prompt(asked(system, "hi", place="data.jsonl:3"))
    with pytest.raises(UserError, match=r"data.jsonl:4: .*Conversation roles must alternate"):
        gemma.prompt(asked("hi", {"role": "user", "content": "there"}, place="data.jsonl:4"))
    undefined = chat(
        "Qwen", CHATML.replace("m['content']", "m['content'] + (m['name']['first'] if loop.length > 2 else '')")
    )
    with pytest.raises(UserError, match=r"data.jsonl:5: .*no attribute 'name'"):
        undefined.prompt(asked("hi", "there", "you", place="data.jsonl:5"))


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for m in messages %}{{ m['content'] }}", "Unexpected end of template"),
        ("{{ messages | no_such_filter }}", "no_such_filter"),
        ({"rag": "x", "tool_use": "y"}, "multiple chat templates with no default.*rag"),
    ],
)
def test_a_template_that_is_none_is_said_at_once(template: Any, words: str) -> None:
    with pytest.raises(UserError, match=f"model: its chat template cannot be used: .*{words}"):
        chat("Qwen", template)


def test_a_template_that_asks_for_a_system_message_still_tells_how_its_turns_end() -> None:
    strict = "{% if messages[0]['role'] != 'system' %}{{ raise_exception('begin with a system message') }}{% endif %}"
    assert chat("Qwen", strict + CHATML).end_id == chat("Qwen").end_id
    assert chat("Qwen", "{{ raise_exception('never') }}").end_id == chat("Qwen").tokenizer.eos_token_id


def test_messages_and_tools_reach_the_template_whole() -> None:
    template = (
        "{{ tools | tojson if tools else '' }}{% for m in messages %}{{ m['content'] or '' }}"
        "{{ m['tool_calls'] | tojson if 'tool_calls' in m else '' }}{{ m['name'] or '' }}{% endfor %}"
    )
    coder = chat("Qwen", template)
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add"}}]}
    answer = {"role": "tool", "content": "5", "name": "sum", "tool_calls": None}
    tools = [{"type": "function", "function": {"name": "add"}}]
    record = asked("hi", call, answer, tools=tools)
    text = coder.tokenizer.decode(coder.prompt(record))
    assert text == '[{"type": "function", "function": {"name": "add"}}]hi[{"function": {"name": "add"}}]5sum'
    as_json = asked("hi", call, answer, tools='[{"type": "function", "function": {"name": "add"}}]')
    assert coder.prompt(as_json) == coder.prompt(record)


def test_what_a_template_would_leave_out_is_refused() -> None:
    coder = chat("Qwen")
    with pytest.raises(UserError, match="x:1: .*chat template.* has no place for tools"):
        coder.prompt(asked("hi", tools=[{"name": "add"}], place="x:1"))
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add"}}]}
    with pytest.raises(UserError, match="x:2: .*chat template.* has no place for tool_calls"):
        coder.prompt(asked("hi", call, {"role": "tool", "content": "5"}, place="x:2"))
    with pytest.raises(UserError, match="x:3: .*chat template"):
        coder.prompt(asked("hi", tools="no JSON", place="x:3"))
    assert coder.prompt(asked("hi", tools=[])) == coder.prompt(asked("hi"))


# --- The clock

DATED = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') if strftime_now is defined else "
    "'26 Jul 2024' %}{% endif %}\n  {% macro day(how) %}{{ strftime_now(how) }}{% endmacro %}"
    "Today is {{ date_string }} ({{ day('%A %-d, %H:%M 100%%d') }}).\n"
)
BEGUN = datetime(2024, 2, 9, 13, 5)


def test_a_template_that_asks_for_the_date_is_told_when_the_run_began() -> None:
    tokenizer = LAYOUTS["Llama 3"]()
    plain = tokenizer.chat_template
    tokenizer.chat_template = DATED + plain
    record = PromptRecord("0", "Capital of France ?")
    text = tokenizer.decode(Codec(tokenizer, "chat_template", clock=BEGUN).prompt(record))
    told = "Today is 09 Feb 2024 (Friday 9, 13:05 100%d).\n"
    assert told in text
    tokenizer.chat_template = told + plain
    assert tokenizer.decode(Codec(tokenizer, "chat_template").prompt(record)) == text  # and nothing else is changed


def test_without_a_run_it_is_told_what_transformers_tells_it() -> None:
    tokenizer = LAYOUTS["Llama 3"]()
    tokenizer.chat_template = "{{ strftime_now('%Y-%m-%d') }}" + tokenizer.chat_template
    asked_for = {"conversation": [{"role": "user", "content": "it"}], "add_generation_prompt": True}
    theirs = tokenizer.apply_chat_template(**asked_for, tokenize=True, return_dict=False)
    for clock in (None, datetime.now()):
        assert Codec(tokenizer, "chat_template", clock=clock).prompt(PromptRecord("0", "it")) == theirs
