"""Fields that rows of any format may have: `tools`, for the chat template. Fields of unsupported inputs are refused."""

from __future__ import annotations

from overopt.datafiles import json_value
from overopt.errors import UserError
from overopt.tasks.formats.example import Row

UNUSED = ("image", "images", "video", "videos", "audio", "audios", "chat_template_kwargs")
"""Parts of a prompt that cannot be used, so that the prompt would be incomplete."""


def read_extras(row: Row) -> Row:
    """The row's tools, parsed if they are JSON text, as `{"tools": [...]}`; removes an empty field from the row."""
    for name in UNUSED:
        if row.get(name):
            raise UserError(f"field '{name}' is part of the prompt, and only text is trained on; take the field out")
    tools = row.get("tools")
    if isinstance(tools, str):
        tools = json_value(tools.encode("utf-8", "surrogatepass"), "field 'tools'") if tools.strip() else None
    if not tools or tools == [{}]:
        row.pop("tools", None)
        return {}
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise UserError("field 'tools' must be a list of tools, as chat templates take them; rename any other field")
    return {"tools": tools}
