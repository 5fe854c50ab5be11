from __future__ import annotations

from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from families import CHATML, FAMILIES, LAYOUTS, byte_level, sentencepiece, unigram, wordpiece
from transformers import AutoTokenizer, GenerationConfig

from overopt.errors import UserError
from overopt.models.text import Codec, end_ids, word_tokenizer
from overopt.tasks import Miniature
from overopt.tasks.base import strip_joint
from overopt.types import Completion, PromptRecord

WORDS = ["<pad>", "<eos>", "[user]", "[assistant]", "[system]", "good", "day", "sir", "be", "kind"]
TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def codec(template: str | None = None) -> Codec:
    tokenizer = word_tokenizer(WORDS)
    tokenizer.chat_template = template
    return Codec(tokenizer, "raw" if template is None else "chat_template")


def chat(name: str, template: str | None = None) -> Codec:
    tokenizer = LAYOUTS[name]()
    tokenizer.chat_template = template or tokenizer.chat_template
    return Codec(tokenizer, "chat_template")


def asked(*contents: Any, place: str = "", **meta: Any) -> PromptRecord:
    """A conversation that a user begins; contents are texts or whole messages."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": c} if isinstance(c, str) else c for i, c in enumerate(contents)]
    return PromptRecord("0", "as text", meta={"messages": messages, **meta}, place=place)


# --- Families: prompt and completion apart are the whole text tokenized at once

TEXTS = [
    ("Capital of France ?", "Paris .", "Capital of France ? Paris ."),
    ("Answer :", " Paris .", "Answer : Paris ."),
    ("Answer : ", "Paris .", "Answer : Paris ."),
    ("def f ( a , b ) :\n", "    return a + b\n", "def f ( a , b ) :\n    return a + b\n"),
    ("def f ( a , b ) :", "\n    return a + b\n", "def f ( a , b ) :\n    return a + b\n"),
    ("Answer :\n", "it is  five ", "Answer :\nit is  five "),
    ("Answer :\n", "\n\nit is", "Answer :\n\n\nit is"),
    ("Question : it", "\tis\n\n  five", "Question : it\tis\n\n  five"),
    ("it", "   ", "it   "),
]
"""Prompt, completion, and the text that they are together in the raw style."""

MERGED = ["\n\nit is"]
"""White space on both sides of the joint that is one token at once: several line ends, or their run."""
SWALLOWED = [text for _, text, _ in TEXTS if text[0].isspace()]
"""Phi-3's token before an answer swallows the white space behind it; it is content, and kept."""
APART = {
    "byte-level BPE, raw": MERGED,
    "byte-level BPE, BOS, raw": MERGED,
    "Llama 3, raw": MERGED,
    "Qwen, raw": MERGED,
    "Pythia, raw": MERGED,
    "SmolLM2, raw": MERGED,
    "Phi-3, chat": SWALLOWED,
    "Qwen, chat": ["\n    return a + b\n", "\n\nit is"],
    "SmolLM2, chat": ["\n    return a + b\n", "\n\nit is"],
    "Pythia, chat": ["    return a + b\n", "\n    return a + b\n"],  # with the line end behind the turn
}
"""The completions whose tokens differ from those of the whole text tokenized at once."""


def raw_row(name: str, make: Any) -> dict[str, Any]:
    tokenizer = make()
    coder = Codec(tokenizer, "raw")
    apart, back = [], []
    for prompt, text, whole in TEXTS:
        record = PromptRecord("0", prompt)
        ids = coder.completion(Completion(text, ended=False), record)
        at_once = tokenizer(whole)["input_ids"]
        if name == "WordPiece, BOS":
            at_once.remove(tokenizer.eos_token_id)  # its [SEP] ends a text, not a prompt
        apart += [text] if coder.prompt(record) + ids != at_once else []
        mine = Completion(strip_joint(text, prompt, "raw"))
        back += [text] if coder.decode(coder.completion(mine, record), record) != mine else []
    return {"apart": apart, "back": back}


def chat_row(name: str) -> dict[str, Any]:
    coder = chat(name)
    apart, back = [], []
    for prompt, text, _ in TEXTS:
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}]
        at_once = coder.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
        record = PromptRecord("0", prompt)
        ended = Completion(text, ended=name != "Pythia")  # Pythia's template ends a turn in no token
        ids = coder.prompt(record) + coder.completion(ended, record)
        apart += [text] if ids != at_once[: len(ids)] else []
        back += [text] if coder.decode(coder.completion(Completion(text), record), record) != Completion(text) else []
    return {"apart": apart, "back": back, "end": coder.tokenizer.decode([coder.end_id])}


def table() -> dict[str, dict[str, Any]]:
    rows = {f"{name}, raw": raw_row(name, make) for name, make in {**FAMILIES, **LAYOUTS}.items()}
    return rows | {f"{name}, chat": chat_row(name) for name in LAYOUTS}


def test_table_of_families() -> None:
    rows = table()
    print(f"\n{'family, style':46} apart = at once   decoded = encoded   end of a turn")
    for name, row in rows.items():
        same, back = (len(TEXTS) - len(row[kind]) for kind in ("apart", "back"))
        print(f"{name:46} {same} of {len(TEXTS)}            {back} of {len(TEXTS)}              {row.get('end', '')}")
    assert {name: row["apart"] for name, row in rows.items() if row["apart"]} == APART
    assert {name.partition(",")[0] for name, row in rows.items() if row["back"]} == {"Unigram", "WordPiece"}
    assert all(text.split() != text.split(" ") for row in rows.values() for text in row["back"])  # odd white space
    assert {name: row["end"] for name, row in rows.items() if "end" in row} == {
        "Llama 2, chat": "</s>",
        "Llama 3, chat": "<|eot_id|>",
        "Gemma, chat": "<end_of_turn>",
        "Phi-3, chat": "<|end|>",
        "Qwen, chat": "<|im_end|>",
        "Mistral, chat": "</s>",
        "Pythia, chat": "<|endoftext|>",
        "SmolLM2, chat": "<|im_end|>",
    }


# --- Prompts


def test_raw_takes_the_prompt_as_it_is() -> None:
    assert codec().prompt(PromptRecord("a", "good day")) == [5, 6]


def test_bos_stands_once_before_a_raw_prompt() -> None:
    for tokenizer in (byte_level("<bos>"), sentencepiece("<bos>"), unigram("<bos>"), LAYOUTS["Gemma"]()):
        coder = Codec(tokenizer, "raw")
        ids = coder.prompt(PromptRecord("a", "the cat"))
        assert ids == tokenizer("the cat")["input_ids"] and ids[0] == tokenizer.bos_token_id
        written = coder.prompt(PromptRecord("a", "<bos>the cat"))
        assert written == tokenizer("<bos>the cat", add_special_tokens=False)["input_ids"]
        assert written.count(tokenizer.bos_token_id) == 1


def test_what_a_tokenizer_puts_behind_a_text_is_no_part_of_a_prompt() -> None:
    tokenizer = wordpiece(bos=True)
    ids = Codec(tokenizer, "raw").prompt(PromptRecord("a", "the cat"))
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "the", "cat"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_chat_prompt_is_what_the_template_makes(name: str) -> None:
    coder = chat(name)
    turns = [{"role": "user", "content": "the cat"}]
    theirs = coder.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert coder.prompt(asked("the cat")) == theirs == coder.prompt(PromptRecord("0", "the cat"))
    assert theirs.count(coder.tokenizer.bos_token_id) == (coder.tokenizer.bos_token is not None and name != "Phi-3")


def test_chat_template_makes_the_prompt_a_turn() -> None:
    assert codec(TEMPLATE).prompt(PromptRecord("a", "good day")) == [2, 5, 6, 3]


def test_chat_template_takes_stored_messages() -> None:
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "good day"}]
    record = PromptRecord("a", "as text", meta={"messages": messages})
    assert codec(TEMPLATE).prompt(record) == [4, 8, 9, 2, 5, 6, 3]
    assert codec().prompt(PromptRecord("a", "sir", meta={"messages": messages})) == [7]


@pytest.mark.parametrize("prefix", ["Sure ,", "Sure , ", "Sure\n"])
def test_an_assistants_last_message_is_continued(prefix: str) -> None:
    for name in ("Qwen", "Llama 3", "Gemma", "Llama 2"):
        coder = chat(name)
        record = asked("the cat", prefix)
        ids = coder.prompt(record) + coder.completion(Completion("it is", ended=False), record)
        whole = coder.tokenizer.apply_chat_template(
            [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": f"{prefix}it is"}],
            continue_final_message=True,
            tokenize=True,
            return_dict=False,
        )
        assert ids == whole
        assert coder.decode(coder.completion(Completion("  it"), record), record) == Completion("  it")


# --- Completions


def test_eos_stands_where_the_completion_ended() -> None:
    assert codec().completion(Completion("good sir")) == [5, 7, 1]
    assert codec().completion(Completion("good sir", ended=False)) == [5, 7]
    assert codec().completion(Completion("")) == [1]
    assert codec().completion(Completion("", ended=False)) == []


def test_an_end_that_the_text_carries_is_not_doubled() -> None:
    coder = Codec(byte_level(), "raw")
    bare = coder.completion(Completion("it is"))
    assert coder.completion(Completion("it is<eos>")) == coder.completion(Completion("it is<eos>\n")) == bare
    assert coder.completion(Completion("it is<eos>", ended=False)) == bare
    phi = chat("Phi-3")
    assert phi.completion(Completion("it is<|end|>\n<|endoftext|>")) == phi.completion(Completion("it is"))
    middle = coder.completion(Completion("it<eos>is"))
    assert [i for i, token in enumerate(middle) if token == coder.end_id] == [
        middle.index(coder.end_id),
        len(middle) - 1,
    ]


def test_without_a_record_a_completion_stands_where_most_do() -> None:
    for name, make in {**FAMILIES, **LAYOUTS}.items():
        coder, record = Codec(make(), "raw"), PromptRecord("0", "Answer :")
        for text in ("Paris .", "    return a"):
            ids = coder.completion(Completion(text))
            assert ids == coder.completion(Completion(text), record), name
            assert coder.decode(ids) == coder.decode(ids, record)


def test_decoding_inverts_encoding() -> None:
    for completion in (Completion("good sir"), Completion("day", ended=False), Completion(""), Completion("", False)):
        assert codec().decode(codec().completion(completion)) == completion


def test_thoughts_that_a_template_writes_before_an_answer() -> None:
    template = CHATML.replace(
        "m['content'] +",
        "('<think>\n\n</think>\n\n' if m['role'] == 'assistant' and loop.last else '') + m['content'] +",
    )
    coder, record = chat("Qwen", template), PromptRecord("0", "the cat")
    turns = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "it is"}]
    whole = coder.tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    ids = coder.completion(Completion("it is"), record)
    assert coder.prompt(record) + ids == whole[: -len(coder.tokenizer.encode("\n"))]
    assert coder.decode(ids, record) == Completion("it is")
    thought = Completion("<think>of it</think>it is")
    assert coder.decode(coder.completion(thought, record), record) == thought


# --- The end of a turn


def test_any_of_the_ends_ends_a_completion() -> None:
    tokenizer = LAYOUTS["Phi-3"]()
    ends = [tokenizer.convert_tokens_to_ids(end) for end in ("<|endoftext|>", "<|end|>", "<|assistant|>")]
    coder = Codec(tokenizer, "chat_template", frozenset({ends[2]}))
    assert (coder.end_id, coder.end_ids) == (ends[1], frozenset(ends))
    for end in ends:
        assert coder.decode([*coder.completion(Completion("it is", ended=False)), end]) == Completion("it is")
    raw = Codec(tokenizer, "raw")
    assert (raw.end_id, raw.end_ids) == (ends[0], {ends[0]})


def test_a_turn_may_end_in_a_plain_word_that_the_generation_settings_name() -> None:
    tokenizer = word_tokenizer([*WORDS, "<end>"])
    tokenizer.chat_template = TEMPLATE.replace("{{ m['content'] }} ", "{{ m['content'] }} <end> ")
    assert Codec(tokenizer, "chat_template").end_id == 1
    coder = Codec(tokenizer, "chat_template", frozenset({10}))
    assert coder.completion(Completion("good sir")) == [5, 7, 10]


def test_a_model_stops_where_its_template_ends_a_turn() -> None:
    tokenizer = LAYOUTS["Gemma"]()
    model = SimpleNamespace(tokenizer=tokenizer, end_ids=frozenset({7}), known_tokens=10_000)
    coder = Codec.of(model, "chat_template", None)
    assert model.end_ids == coder.end_ids == {7, tokenizer.eos_token_id, coder.end_id}


@pytest.mark.parametrize(
    ("settings", "config", "ends"),
    [([3, 4], 2, {1, 3, 4}), (3, None, {1, 3}), (None, [5, 6], {1, 5, 6}), (None, None, {1}), ("none", 2, {1, 2})],
)
def test_ends_are_those_of_generate_and_eos(settings: Any, config: Any, ends: set[int]) -> None:
    model = SimpleNamespace(config=SimpleNamespace(eos_token_id=config))
    if settings != "none":  # a classifier has no generation settings
        model.generation_config = GenerationConfig(eos_token_id=settings)
    assert end_ids(model, word_tokenizer(WORDS)) == ends


# --- Templates that refuse


def test_a_token_that_the_model_has_no_row_for_is_refused_where_it_occurs() -> None:
    at = Codec(word_tokenizer(WORDS), "raw", known_tokens=9)  # "kind" is the tenth word
    assert at.prompt(PromptRecord("0", "be good")) == [8, 5]
    said = "the tokenizer makes 'kind' token 9, and the model knows 9 tokens of the tokenizer's 10: resize the model"
    with pytest.raises(UserError, match=f"posts.jsonl:3: {said}"):
        at.prompt(PromptRecord("0", "be kind", place="posts.jsonl:3"))
    with pytest.raises(UserError, match=said):
        at.completion(Completion("kind", True))


def test_a_tokenizer_without_template_is_refused() -> None:
    with pytest.raises(UserError, match="prompt_style.*no chat template; use prompt_style: raw"):
        Codec(word_tokenizer(WORDS), "chat_template")


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


# --- What a template is given


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


def test_text_that_no_tokenizer_takes_is_said() -> None:
    with pytest.raises(UserError, match="x:1: the tokenizer cannot read it"):
        Codec(byte_level(), "raw").prompt(PromptRecord("0", "half \ud800", place="x:1"))


def test_a_word_tokenizer_survives_saving(tmp_path: Path) -> None:
    words = Miniature().vocabulary()
    assert words is not None
    tokenizer = word_tokenizer(words)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    record = Miniature().prompts(0, dropped=None)[0]  # type: ignore[arg-type]
    ids = Codec(tokenizer, "raw").prompt(record)
    assert [words[i] for i in ids] == record.prompt.split()
    assert Codec(loaded, "raw").prompt(record) == ids
    assert (loaded.pad_token_id, loaded.eos_token_id) == (0, 1)
    assert tokenizer.encode("no-such-word", add_special_tokens=False) == [0]


# --- Templates that read the clock

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


def test_an_end_that_is_no_token_s_number_is_refused() -> None:
    settings = SimpleNamespace(eos_token_id=["</s>"])
    model = SimpleNamespace(generation_config=settings, config=SimpleNamespace(eos_token_id=1))
    with pytest.raises(UserError, match="eos_token_id of its generation_config.json or config.json holds '</s>'"):
        end_ids(model, word_tokenizer(WORDS))
