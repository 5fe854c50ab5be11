"""Sources of prompts, references, preferences and a gold reward: the miniature world, or local files.

A new task is one class that has the methods of `base.TaskProtocol`, and its name in the union below.
"""

from typing import Annotated

from overopt.config import Choice
from overopt.tasks.base import PromptStyle, Report, TaskProtocol, messages_of
from overopt.tasks.local import Local
from overopt.tasks.miniature import Miniature

Task = Annotated[Miniature | Local, Choice(TaskProtocol)]

__all__ = ["Local", "Miniature", "PromptStyle", "Report", "Task", "TaskProtocol", "messages_of"]
