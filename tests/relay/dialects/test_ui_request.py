"""The AI SDK's requests as canonical ones: what each part comes to for the model, and what is refused by its field."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.dialects.ui_content import assistant_turns, user_content
from relay.dialects.ui_parts import BLOCK_PART
from relay.dialects.ui_request import UiRequest, canonical
from relay.parsing import checked
from shared.errors import InvalidRequestError
from shared.request import StreamRequest
from tests.support_events import JSON_VALUES

PIXEL = base64.b64encode(b"\x89PNG").decode()


def part(kind: str, **fields: Any) -> dict[str, Any]:
    """Return a part."""
    return {"type": kind, **fields}


def message(role: str, *parts: dict[str, Any], name: str = "m") -> dict[str, Any]:
    """Return a UI message."""
    return {"id": name, "role": role, "parts": list(parts)}


def asked(*messages: dict[str, Any], **fields: Any) -> StreamRequest:
    """Return the canonical request of a body."""
    body = UiRequest.model_validate_json(json.dumps({"id": "c1", "messages": messages} | fields))
    return checked(StreamRequest, canonical(body))


def file(media_type: str, url: str, **fields: Any) -> dict[str, Any]:
    """Return a file part."""
    return part("file", mediaType=media_type, url=url, **fields)


HELLO = part("text", text="Hello", state="done")


def test_a_conversation_keeps_its_turns() -> None:
    """The system's text apart, the app's own fields as ours, the chat's id in the metadata."""
    wanted = asked(
        message("system", part("text", text="Be "), part("text", text="brief.")),
        message("user", HELLO),
        message("assistant", part("step-start"), part("text", text="Hi")),
        message("user", part("text", text="More")),
        trigger="submit-message",
        messageId="m",
        model="sim",
        max_tokens=7,
        tools=[{"name": "t", "input_schema": {}}],
    )
    assert wanted.system == "Be brief."
    assert [(turn.role, turn.content) for turn in wanted.messages] == [
        ("user", [{"type": "text", "text": "Hello"}]),
        ("assistant", [{"type": "text", "text": "Hi"}]),
        ("user", [{"type": "text", "text": "More"}]),
    ]
    assert (wanted.model, wanted.max_tokens, wanted.metadata) == ("sim", 7, {"chat_id": "c1"})


def test_one_message_alone_is_a_conversation_of_its_own() -> None:
    """The shortened body of apps whose server keeps the rest; this one keeps nothing."""
    body = UiRequest.model_validate_json(json.dumps({"id": "c1", "message": message("user", HELLO)}))
    assert checked(StreamRequest, canonical(body)).messages[0].content == [{"type": "text", "text": "Hello"}]


def test_the_apps_own_metadata_wins() -> None:
    """And is kept with ours."""
    wanted = asked(message("user", HELLO), message("assistant", HELLO, name="m2"), metadata={"chat_id": "x", "a": "b"})
    assert wanted.metadata == {"chat_id": "x", "a": "b", "ai_sdk_message_id": "m2"}


@pytest.mark.parametrize(
    ("sent", "block"),
    [
        (
            file("image/png", f"data:image/png;base64,{PIXEL}"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        ),
        (
            file("image", "https://a.example/b"),
            {"type": "image", "source": {"type": "url", "url": "https://a.example/b"}},
        ),
        (
            file("application/pdf", f"data:application/pdf;base64,{PIXEL}", filename="a.pdf"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PIXEL},
                "title": "a.pdf",
            },
        ),
        (
            file("text/csv", "data:text/csv;charset=utf-8;base64,w6k="),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}},
        ),
        (HELLO, {"type": "text", "text": "Hello"}),
    ],
    ids=str,
)
def test_a_users_part_is_a_block(sent: dict[str, Any], block: dict[str, Any]) -> None:
    """Text, images, PDF and files of text; what is for the page alone comes to nothing."""
    assert user_content([part("data-x", data=1), sent, part("step-start")], "messages.0") == [block]


def test_a_tools_output_is_a_turn_of_the_users() -> None:
    """After each step that has some, so that no call stands without its result."""
    call = {"toolCallId": "c1", "input": {"a": 1}}
    turns = assistant_turns(
        [
            part("step-start"),
            part("reasoning", text="hm", providerMetadata={"anthropic": {"signature": "c2ln"}}),
            part("text", text=""),
            part("tool-t", state="output-available", output={"b": "é"}, **call),
            part("dynamic-tool", toolName="u", state="output-error", errorText="No.", **(call | {"toolCallId": "c2"})),
            part("tool-v", state="output-denied", approval={"id": "a", "reason": "Never."}, **call),
            part("step-start"),
            part("text", text="Done."),
            part("source-url", sourceId="s", url="https://a.example"),
        ],
        "messages.1",
    )
    assert turns == [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                {"type": "tool_use", "id": "c1", "name": "t", "input": {"a": 1}},
                {"type": "tool_use", "id": "c2", "name": "u", "input": {"a": 1}},
                {"type": "tool_use", "id": "c1", "name": "v", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": '{"b": "é"}'},
                {"type": "tool_result", "tool_use_id": "c2", "content": "No.", "is_error": True},
                {"type": "tool_result", "tool_use_id": "c1", "content": "Never.", "is_error": True},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "Done."}]},
    ]


@pytest.mark.parametrize(
    "left_out",
    [
        part("tool-t", toolCallId="c", state="input-streaming", input={}),
        part("tool-t", toolCallId="c", state="input-available", input={}),
        part("tool-t", toolCallId="c", state="approval-requested", input={}),
        part("tool-t", toolCallId="c", state="output-available", input={}, output=1, preliminary=True),
        part("reasoning", text="of some other provider's"),
        part("data-weather", data={}),
    ],
    ids=lambda sent: str(sent.get("state", sent["type"])),
)
def test_what_no_provider_takes_is_left_out(left_out: dict[str, Any]) -> None:
    """Calls without an output, and thinking without a signature, as answers that were stopped have them."""
    assert assistant_turns([HELLO, left_out], "messages.1") == [
        {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]}
    ]
    assert assistant_turns([left_out], "messages.1") == []


def test_what_the_provider_told_goes_back_as_it_was() -> None:
    """Its own tools with their results, and blocks that have no part of their own, byte for byte in their fields."""
    called = {"type": "server_tool_use", "id": "s1", "name": "web_search", "caller": {"type": "direct"}}
    result = {"type": "web_search_tool_result", "tool_use_id": "s1"}
    (turn,) = assistant_turns(
        [
            part(
                "tool-web_search",
                toolCallId="s1",
                state="output-available",
                providerExecuted=True,
                input={"q": "Graz"},
                output=[{"encrypted_content": "x"}],
                callProviderMetadata={"anthropic": {"block": called}},
                resultProviderMetadata={"anthropic": {"block": result}},
            ),
            part(BLOCK_PART, data={"type": "redacted_thinking", "data": "x"}),
        ],
        "messages.1",
    )
    assert turn["content"] == [
        called | {"input": {"q": "Graz"}},
        result | {"content": [{"encrypted_content": "x"}]},
        {"type": "redacted_thinking", "data": "x"},
    ]


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([message("user", part("tool-t", state="x"))], "messages.0.parts.0.type"),
        ([message("user", part("reasoning", text="x"))], "messages.0.parts.0.type"),
        ([message("user", part("text"))], "messages.0.parts.0.text"),
        ([message("user", part("text", text=""))], "messages.0.parts"),
        ([message("user", file("video/mp4", "https://a.example"))], "messages.0.parts.0.mediaType"),
        ([message("user", file("image/png", "file:///etc/passwd"))], "messages.0.parts.0.url"),
        ([message("user", file("image/png", "data:image/png;base64,*"))], "messages.0.parts.0.url"),
        ([message("user", file("text/plain", "data:text/plain;base64,/w=="))], "messages.0.parts.0.url"),
        ([message("user", part("file", url="https://a.example"))], "messages.0.parts.0.mediaType"),
        ([message("user", HELLO), message("assistant", file("image/png", "x"))], "messages.1.parts.0.type"),
        ([message("user", HELLO), message("assistant", part("tool-t"))], "messages.1.parts.0.state"),
        (
            [message("user", HELLO), message("assistant", part("tool-t", state="output-available"))],
            "messages.1.parts.0.toolCallId",
        ),
        (
            [message("user", HELLO), message("assistant", part("tool-t", state="approval-responded"))],
            "messages.1.parts.0.state",
        ),
        ([message("user", HELLO), message("system", HELLO)], "messages.1"),
        ([message("system", HELLO), message("system", HELLO)], "messages.1"),
        ([message("system", file("image/png", "x"))], "messages.0.parts.0.type"),
        ([message("system", part("text", text=""))], "messages.0.parts"),
        ([message("system", HELLO)], "messages"),
    ],
    ids=str,
)
def test_what_cannot_be_told_to_a_model_is_refused_by_its_field(messages: list[dict[str, Any]], field: str) -> None:
    """In a sentence that begins with it, or says what is missing."""
    with pytest.raises(InvalidRequestError) as refused:
        asked(*messages)
    assert refused.value.field == field


KINDS = ("text", "file", "reasoning", "tool-t", "dynamic-tool", "step-start", "data-x", BLOCK_PART, "source-url", "odd")
STATES = ("input-available", "output-available", "output-error", "output-denied", "approval-responded")
URLS = ("", "data:", "data:image/png;base64,", "data:text/plain;base64,w6k=", "https://a.example", "x:y")
FIELDS = ("text", "url", "mediaType", "filename", "state", "toolCallId", "toolName", "input", "output", "errorText")
MORE = ("approval", "providerMetadata", "callProviderMetadata", "providerExecuted")
VALUES = JSON_VALUES | st.sampled_from([*STATES, *URLS]) | st.dictionaries(st.text(max_size=3), JSON_VALUES, max_size=2)
PARTS = st.dictionaries(st.sampled_from([*FIELDS, *MORE]), VALUES, max_size=9)


@given(
    role=st.sampled_from(["user", "assistant", "system"]),
    parts=st.lists(st.builds(lambda kind, fields: {**fields, "type": kind}, st.sampled_from(KINDS), PARTS), max_size=4),
)
def test_whatever_a_part_holds_it_is_taken_or_refused(role: str, parts: list[dict[str, Any]]) -> None:
    """Nothing of any type in any field is a mistake of ours."""
    with suppress(InvalidRequestError):
        assert asked(message("user", HELLO), message(role, *parts)).messages


def test_a_system_message_and_the_field_exclude_each_other() -> None:
    """Neither is dropped in silence."""
    with pytest.raises(InvalidRequestError, match="not both"):
        asked(message("system", HELLO), message("user", HELLO), system="Be brief.")
