"""SmolLM2-135M as a judge: the log-probabilities of the allowed replies against plain transformers on whole texts.

With `-s` it prints how far apart the two are.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from overopt.engine.compute import Compute
from overopt.engine.head import logps_of_trees
from overopt.evaluation.judges.base import Comparison
from overopt.evaluation.judges.local_model import LocalModel
from overopt.evaluation.judges.prompts import J1, J2, Criterion
from overopt.types import Completion, PromptRecord

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("OVEROPT_REAL_MODEL", ROOT / "out" / "example" / "model"))
PAIRS = json.loads((ROOT / "examples" / "data" / "llmbar_natural.json").read_text(encoding="utf-8"))[:4]


def test_log_probabilities_of_the_replies_on_llmbar() -> None:
    """To 1e-4 nats, summed over a reply's tokens; the ids are those of the whole conversation, answer included."""
    model = LocalModel.load(FOLDER, "logprobs", Compute(device="cpu"))
    policy, tokenizer = model.policy, model.policy.tokenizer
    gaps, longest = [], 0
    for pair, prompt in [(pair, prompt) for pair in PAIRS for prompt in (J1(), J2(), Criterion())]:
        ours, other = (Completion(pair[f"output_{i}"]) for i in (1, 2))
        question = prompt.question(Comparison(PromptRecord("0", pair["input"]), ours, other), "A")
        tree = model.tree(question)
        logp_B = logps_of_trees(policy, [tree], 1.0, 10**6).logp_BT.sum(1)
        for reply, ids, logp in zip(question.allowed, tree.completions, logp_B.tolist(), strict=True):
            written = ("assistant", question.answer_prefix + reply)
            chat = [{"role": role, "content": text} for role, text in (*question.messages, written)]
            whole = tokenizer.apply_chat_template(chat, continue_final_message=True, return_dict=False)
            assert [*tree.prompt, *ids] == whole
            with torch.no_grad():
                logp_LV = policy.model(input_ids=torch.tensor([whole]), use_cache=False).logits[0].log_softmax(-1)
            start = len(whole) - len(ids)
            plain = sum(float(logp_LV[start + t - 1, token]) for t, token in enumerate(ids))
            gaps.append(abs(logp - plain))
            longest = max(longest, len(whole))
    print(f"{len(gaps)} replies, texts of up to {longest} tokens: log-probabilities differ by {max(gaps):.1e} at most")
    assert len(gaps) == 4 * (2 + 2 + 3) and max(gaps) < 1e-4
