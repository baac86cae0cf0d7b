"""Tools and the choice among them, as OpenAI's clients ask for them, in the canonical form; shared by both dialects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from relay.dialects.chat_body import Function
from relay.dialects.openai_options import Fields
from relay.parsing import refuse
from shared.models import Model

_CHOICES = {"none": "none", "auto": "auto", "required": "any"}
_NO_PARAMETERS: Fields = {"type": "object", "properties": {}}


def tool_of(function: Function, model: Model, *at: str | int) -> Fields:
    """Return the tool whose function stands ``at`` this place of the body. Raises ``InvalidRequestError``."""
    told: Fields = {"name": function.name, "input_schema": function.parameters or _NO_PARAMETERS}
    if function.description is not None:
        told["description"] = function.description
    if function.strict:
        if model.provider == "google":
            refuse("models of provider google do not have it", *at, "strict")
        told["strict"] = True
    return told


def chosen_word(choice: str, names: Sequence[str]) -> Fields:
    """Return the choice of no tool, any tool or as the model likes, among ``names``. Raises ``InvalidRequestError``."""
    if choice not in _CHOICES:
        refuse("must be none, auto, required, or an object that names a function", "tool_choice")
    if choice == "required" and not names:
        refuse("there are no tools to choose from", "tool_choice")
    return {"type": _CHOICES[choice]}


def chosen_tool(name: Any, names: Sequence[str], *at: str) -> Fields:
    """Return the choice of one tool, named ``at`` this place of the body. Raises ``InvalidRequestError``."""
    if name not in names:
        refuse("must be the name of a function in tools", *at)
    return {"type": "tool", "name": name}


def with_parallel(chosen: Fields | None, parallel: bool | None, model: Model) -> Fields | None:  # noqa: FBT001
    """Return the choice, which says where only one tool may be called at once. Raises ``InvalidRequestError``."""
    if parallel is False and (chosen is None or chosen["type"] != "none"):
        if model.provider == "google":
            refuse("models of provider google do not have it", "parallel_tool_calls")
        return {**(chosen or {"type": "auto"}), "disable_parallel_tool_use": True}
    return chosen
