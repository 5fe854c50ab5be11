from __future__ import annotations

from hub import LoopbackHub
from overopt.hub.download import commit_of, fetch, listing
from overopt.hub.names import HubName

NAME = HubName("dataset", "owner/data")
FILES = {"data/train-00000-of-00001.parquet": "x" * 5000, "README.md": "about"}


def test_a_branch_is_resolved_and_its_files_are_fetched_once(loopback_hub: LoopbackHub) -> None:
    first = loopback_hub.add("dataset", NAME.repo, FILES)
    second = loopback_hub.add("dataset", NAME.repo, {**FILES, "README.md": "new"})
    tagged = loopback_hub.add("dataset", NAME.repo, {"x.jsonl": "{}"}, "v/1")
    assert commit_of(NAME) == second and commit_of(NAME.at("v/1")) == tagged and commit_of(NAME.at(first)) == first
    folder = fetch(listing(NAME), list(FILES))
    assert folder.name == second
    assert {file: (folder / file).read_text() for file in FILES} == {**FILES, "README.md": "new"}
    asked = len(loopback_hub.requests)
    assert fetch(listing(NAME.at(second)), list(FILES)) == folder
    assert len(loopback_hub.requests) == asked  # a commit never changes, and its files are here
    assert (fetch(listing(NAME.at(first)), ["README.md"]) / "README.md").read_text() == "about"
