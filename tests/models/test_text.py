from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from families import CHATML, FAMILIES, LAYOUTS, asked, byte_level, chat, sentencepiece, unigram, wordpiece
from tokenizers import AddedToken
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


# --- One call for many texts


ANSWERS = [Completion(text, ended) for _, text, _ in TEXTS for ended in (True, False)]


@pytest.mark.parametrize(("name", "style"), [*((n, "raw") for n in FAMILIES), *((n, "chat_template") for n in LAYOUTS)])
def test_a_batch_has_the_ids_of_one_text_after_another(name: str, style: Any) -> None:
    """Of each text alone: whole prompt and completion are encoded, and the prompt's ids taken off."""
    tokenizer = {**FAMILIES, **LAYOUTS}[name]()
    records = [PromptRecord(str(i), prompt, place=f"f:{i}") for i, (prompt, _, _) in enumerate(TEXTS)]
    if style == "chat_template" and name != "Gemma":
        records += [asked("the cat", "it is", "Answer : <|im_end|>"), asked("the cat", "Sure ,")]
    alone = Codec(tokenizer, style)
    expected = [(alone.prompt(r), [Codec(tokenizer, style).completion(c, r) for c in ANSWERS]) for r in records]
    assert list(Codec(tokenizer, style).encode(records, [ANSWERS] * len(records))) == expected
    for record, (_, rows) in zip(records, expected, strict=True):
        before, ids = alone._boundary(record).before, rows[1]  # it did not end
        start = tokenizer.encode(before, add_special_tokens=False)
        whole = tokenizer.encode(before + alone._boundary(record).joint.join(ANSWERS[1].text), add_special_tokens=False)
        assert whole[: len(start)] != start or start + ids == whole


def test_after_a_special_token_the_conversation_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    coder, seen = chat("Qwen"), []
    call = type(coder.tokenizer).__call__
    monkeypatch.setattr(
        type(coder.tokenizer), "__call__", lambda s, texts, **how: seen.extend(texts) or call(s, texts, **how)
    )
    record = asked("the cat", "sat", "on the mat")
    ((prompt, (yes, no)),) = coder.encode([record], [[Completion("Paris ."), Completion("it is five .")]])
    turns = [{"role": r, "content": c} for r, c in (("user", "the cat"), ("assistant", "sat"), ("user", "on the mat"))]
    whole = coder.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    start = "<|im_start|>assistant\n"
    assert seen == [whole, start, start + "Paris .", start + "it is five ."]
    ids = coder.tokenizer.encode
    assert (prompt, prompt + yes[:-1], prompt + no[:-1]) == (
        ids(whole),
        ids(whole + "Paris ."),
        ids(whole + "it is five ."),
    )


def test_no_text_is_cut_before_a_token_that_changes_what_stands_before_it() -> None:
    tokenizer = LAYOUTS["Qwen"]()
    assert Codec(tokenizer, "chat_template")._cutting_token == ("<|im_start|>", 2)
    for settings in ({"lstrip": True}, {"single_word": True}, {"normalized": True}):
        tokenizer = LAYOUTS["Qwen"]()
        tokenizer.add_tokens([AddedToken("<|im_start|>", special=True, **{"normalized": False, **settings})])
        assert Codec(tokenizer, "chat_template")._cutting_token == ("<|im_end|>", 3)  # the one before it


def test_a_text_that_cannot_be_encoded_is_named_among_many() -> None:
    records = [PromptRecord("a", "good", place="f:1"), PromptRecord("b", "day \ud83d", place="f:2")]
    with pytest.raises(UserError, match="f:2: the tokenizer cannot read it"):
        list(codec().encode(records))


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


def test_bos_may_be_prepended_where_nothing_else_puts_it() -> None:
    """As TRL's CPOTrainer does; Pythia's tokenizer names a BOS, its EOS, and puts it nowhere."""
    tokenizer = byte_level()
    tokenizer.bos_token = tokenizer.eos_token
    plain, coder = Codec(tokenizer, "raw"), Codec(tokenizer, "raw", prepend_bos=True)
    record = PromptRecord("a", "the cat")
    assert coder.prompt(record) == [tokenizer.eos_token_id, *plain.prompt(record)]
    assert coder.completion(Completion("sat"), record) == plain.completion(Completion("sat"), record)
    begun = PromptRecord("a", f"{tokenizer.eos_token}the cat")
    assert coder.prompt(begun) == plain.prompt(begun)
    own = Codec(byte_level("<bos>"), "raw", prepend_bos=True)
    assert own.prompt(record) == Codec(byte_level("<bos>"), "raw").prompt(record)


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


# --- What is refused


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


def test_an_end_that_is_no_token_s_number_is_refused() -> None:
    settings = SimpleNamespace(eos_token_id=["</s>"])
    model = SimpleNamespace(generation_config=settings, config=SimpleNamespace(eos_token_id=1))
    with pytest.raises(UserError, match="eos_token_id of its generation_config.json or config.json holds '</s>'"):
        end_ids(model, word_tokenizer(WORDS))
