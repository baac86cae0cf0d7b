"""The body of ``POST /v1/messages``: every field arrives under its canonical name, or is refused by its own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from relay.dialects.anthropic_request import Asked, MessagesBody, canonical_request
from shared.errors import InvalidRequestError
from shared.models import Model
from shared.request import StreamRequest

CLAUDE = Model(provider="anthropic")
PLAIN = Asked()
BETA = Asked("2023-06-01", ("one",))
OTHERS = [Model(provider="openai"), Model(provider="google"), Model(provider="sim")]
LEAST: dict[str, Any] = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}


def body(**fields: Any) -> MessagesBody:
    """Return a body as it comes over HTTP."""
    return MessagesBody.model_validate_json(json.dumps(LEAST | fields))


def request(model: Model = CLAUDE, asked: Asked = PLAIN, /, **fields: Any) -> StreamRequest:
    """Return what a body comes to."""
    return canonical_request(body(**fields), model, asked)


def test_fields_of_both_shapes_keep_their_meaning() -> None:
    """Whatever the model's provider."""
    fields: dict[str, Any] = {
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "temperature": 1,
        "top_p": 0.9,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{"name": "look_up", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any"},
        "max_delay_ms": 20,
        "when_abandoned": "cancel",
        "on_interruption": "restart",
    }
    for model in (CLAUDE, *OTHERS):
        told = request(model, **fields, stop_sequences=["END"], stream=True).model_dump(exclude_unset=True)
        assert told == LEAST | fields | {"stop": ["END"]}


def test_what_is_null_or_an_empty_system_says_nothing() -> None:
    """The SDKs send null for what they were given as None."""
    nothing: dict[str, Any] = dict.fromkeys(("stop_sequences", "metadata", "stream", "container", "tools"))
    for model in (CLAUDE, *OTHERS):
        assert request(model, system="", **nothing).model_dump(exclude_unset=True) == LEAST


def test_fields_of_the_api_alone_go_to_its_own_models_as_they_are() -> None:
    """With who the user is, who is also kept with the stream, and the features that are in beta."""
    own = {"top_k": 5, "service_tier": "auto", "container": {"id": "c1"}, "output_config": {"effort": "low"}}
    told = request(CLAUDE, Asked(betas=("one", "two")), metadata={"user_id": "u1"}, **own)
    assert told.provider_options == own | {"betas": ["one", "two"], "metadata": {"user_id": "u1"}}
    assert told.metadata == {"user_id": "u1"}


def test_other_models_refuse_them_by_name() -> None:
    """But for a hint that changes the cost alone; the user is kept, and the betas mean nothing to them."""
    for model in OTHERS:
        told = request(model, BETA, metadata={"user_id": "u1"}, cache_control={"type": "ephemeral"})
        assert told.model_dump(exclude_unset=True) == LEAST | {"metadata": {"user_id": "u1"}}
        with pytest.raises(InvalidRequestError, match=r"^top_k: .*; zebra: ") as caught:
            request(model, zebra=1, top_k=5)
        assert caught.value.field == "top_k"


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"messages": []}, ("messages",)),
        ({"messages": [{"role": "tool", "content": "x"}]}, ("messages", 0, "role")),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, ("messages", 0, "name")),
        ({"max_tokens": 0}, ("max_tokens",)),
        ({"max_tokens": None}, ("max_tokens",)),
        ({"model": None}, ("model",)),
        ({"temperature": 1.5}, ("temperature",)),
        ({"metadata": {"team": "x"}}, ("metadata", "team")),
        ({"stop_sequences": [""]}, ("stop_sequences", 0)),
        ({"stream": "yes"}, ("stream",)),
        ({"top_k": float("nan")}, ("top_k",)),
    ],
)
def test_a_wrong_field_is_refused_by_its_place(fields: dict[str, Any], place: tuple[str | int, ...]) -> None:
    """Before anything is started."""
    with pytest.raises(ValidationError) as caught:
        body(**fields)
    assert place in [problem["loc"] for problem in caught.value.errors()]


def test_what_headers_say_is_told_to_the_api_s_own_models() -> None:
    """The version too, where it is not the newest; and neither can be said in the body."""
    assert Asked.by({}).options() == {}
    assert Asked.by({"anthropic-version": "2026-10-21"}) == Asked()
    old = Asked.by({"anthropic-version": "2023-06-01", "anthropic-beta": " one, two,,"})
    assert request(CLAUDE, old).provider_options == {"anthropic_version": "2023-06-01", "betas": ["one", "two"]}
    for field in ("betas", "anthropic_version"):
        with pytest.raises(InvalidRequestError, match=field):
            canonical_request(body(**{field: "x"}), CLAUDE, PLAIN)


@pytest.mark.parametrize(
    ("name", "value"),
    [("anthropic-version", "2023-01-01"), ("anthropic-beta", "é"), ("anthropic-beta", ",".join(["x"] * 51))],
)
def test_a_header_that_cannot_be_followed_is_refused(name: str, value: str) -> None:
    """By its name."""
    with pytest.raises(InvalidRequestError, match=name):
        Asked.by({name: value})
