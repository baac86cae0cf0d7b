"""How an interrupted answer goes on: what is kept, what is asked, and that nothing is doubled or lost."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.answer import Block
from shared.events import DeltaEvent
from shared.models import Model
from worker.continuation import Plan, after_pause, assistant_content, is_continuation_turn, plan_attempt
from worker.llm import Call

PREFILL = Model(provider="anthropic", continuation="prefill")
USER_TURN = Model(provider="anthropic", continuation="user_turn")
QUESTION: dict[str, Any] = {"role": "user", "content": "Tell me."}
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


def call(model: Model = PREFILL, messages: list[dict[str, Any]] | None = None, **changes: Any) -> Call:
    """Return the second attempt's call, as the first would have made it."""
    return replace(Call(model, "m", messages or [QUESTION], 1000, attempt=2, step=2), **changes)


def text(number: int, said: str, *, complete: bool = True) -> Block:
    """Return a text block."""
    block = Block(number, "text", complete=complete)
    block.add(DeltaEvent(number, text=said))
    return block


def thought(number: int, said: str = "hm", signature: str = "sig/+=", *, complete: bool = True) -> Block:
    """Return a thinking block."""
    block = Block(number, "thinking", complete=complete)
    block.add(DeltaEvent(number, text=said))
    block.add(DeltaEvent(number, signature=signature))
    return block


def tool(number: int, arguments: str = '{"a":1}', *, complete: bool = True) -> Block:
    """Return a client's tool call."""
    block = Block(number, "tool_use", id="t1", name="look", complete=complete)
    block.add(DeltaEvent(number, json=arguments))
    return block


def opaque(number: int, content: dict[str, Any], arguments: str = "", *, complete: bool = True) -> Block:
    """Return a block of another type."""
    kind = "tool_result" if content["type"].endswith("tool_result") else "data"
    block = Block(number, kind, name=content["type"], data=json.dumps(content).encode(), complete=complete)  # type: ignore[arg-type]
    if arguments:
        block.add(DeltaEvent(number, json=arguments))
    return block


SEARCH = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"encrypted_content": "é+/="}]}


def plan(of: Call, *blocks: Block) -> Plan:
    """Return the plan under the usual policy."""
    planned = plan_attempt(of, blocks, "continue")
    assert planned is not None
    return planned


def test_a_first_attempt_starts() -> None:
    """And its call is the request as it came."""
    first = call(attempt=1)
    assert plan(first) == Plan("start", 0, first)


@pytest.mark.parametrize("policy", ["continue", "restart", "fail"])
def test_with_nothing_told_a_later_attempt_just_begins(policy: Any) -> None:
    """Nothing was interrupted that a reader could know of, so not even the policy to fail is concerned."""
    assert plan_attempt(call(), [], policy) == Plan("restart", 0, call())


def test_the_policy_to_fail_makes_no_plan() -> None:
    """Once a reader may have seen a part of the answer."""
    assert plan_attempt(call(), [text(0, "a", complete=False)], "fail") is None


def test_the_policy_to_restart_keeps_nothing() -> None:
    """However much there is to go on from."""
    assert plan_attempt(call(), [text(0, "a", complete=False)], "restart") == Plan("restart", 0, call())


def test_a_prefill_continues_the_open_text() -> None:
    """The answer so far is the last assistant message, and the open block goes on."""
    planned = plan(call(), text(0, "One, two"), text(1, " and th", complete=False))
    assert (planned.mode, planned.keep_blocks) == ("prefill", 2)
    assert planned.call.messages == [
        QUESTION,
        {"role": "assistant", "content": [{"type": "text", "text": "One, two"}, {"type": "text", "text": " and th"}]},
    ]
    assert (planned.call.open_text_block, planned.call.first_block, planned.call.prefill) == (1, 2, " and th")


def test_a_user_turn_continues_where_a_prefill_is_refused() -> None:
    """What was said becomes a finished turn; the user asks to go on, quoting its end."""
    planned = plan(call(USER_TURN), text(0, "word " * 100 + "the end ", complete=False))
    *_, said, ask = planned.call.messages
    assert (planned.mode, planned.keep_blocks, planned.call.open_text_block) == ("user_turn", 1, 0)
    assert said["role"] == "assistant"
    assert said["content"][0]["text"].endswith("the end ")
    assert is_continuation_turn(ask)
    assert "word the end \n" in ask["content"]
    assert len(ask["content"]) < 700
    assert not is_continuation_turn(said)
    assert not is_continuation_turn(QUESTION)
    assert planned.call.prefill == ""


def test_a_thinking_model_is_never_given_a_prefill() -> None:
    """The API refuses the two together; its thoughts go back with their signatures as they came."""
    planned = plan(call(options=THINKING), thought(0), text(1, "So", complete=False))
    assert planned.mode == "user_turn"
    assert planned.call.messages[1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig/+="},
        {"type": "text", "text": "So"},
    ]


@pytest.mark.parametrize("model", [PREFILL, USER_TURN])
def test_thoughts_are_not_sent_where_thinking_is_off(model: Model) -> None:
    """Readers keep them; the API would refuse them. Disabled thinking is off."""
    disabled = {"thinking": {"type": "disabled"}}
    redacted = opaque(1, {"type": "redacted_thinking", "data": "zz"})
    planned = plan(call(model, options=disabled), thought(0), redacted, text(2, "So", complete=False))
    assert planned.mode == model.continuation
    assert planned.keep_blocks == 3
    assert planned.call.messages[1]["content"] == [{"type": "text", "text": "So"}]


def test_a_thought_without_signature_is_not_sent() -> None:
    """Only the provider's own proof makes a thought acceptable."""
    planned = plan(call(USER_TURN, options=THINKING), thought(0, signature=""), text(1, "So", complete=False))
    assert planned.call.messages[1]["content"] == [{"type": "text", "text": "So"}]


@pytest.mark.parametrize(
    "lost",
    [
        [tool(1, '{"a', complete=False)],
        [tool(1)],
        [tool(1), tool(2, "{", complete=False)],
        [thought(1, complete=False)],
        [thought(1)],
        [opaque(1, SEARCH, '{"q', complete=False)],
        [opaque(1, SEARCH), opaque(2, FOUND)],
        [text(1, " \n", complete=False)],
        [text(1, "", complete=False)],
    ],
)
def test_the_answer_drops_back_to_its_last_text(lost: list[Block]) -> None:
    """Half a call or thought is useless, a whole one cannot end what is sent; ``keep_blocks`` tells the readers."""
    planned = plan(call(), text(0, "Let me look."), *lost)
    assert (planned.mode, planned.keep_blocks) == ("prefill", 1)
    assert (planned.call.open_text_block, planned.call.first_block) == (None, 1)
    assert planned.call.messages[-1]["content"] == [{"type": "text", "text": "Let me look."}]


def test_a_text_after_a_clients_tool_call_is_not_gone_on_from() -> None:
    """The API refuses an assistant turn with a call that has no result, wherever in the turn it is."""
    planned = plan(call(), text(0, "a"), tool(1), text(2, "b", complete=False))
    assert planned.keep_blocks == 1


def test_a_text_opened_while_another_is_open_is_not_gone_on_from() -> None:
    """What is sent must be whole up to its end."""
    planned = plan(call(), text(0, "a", complete=False), text(1, "b", complete=False))
    assert (planned.keep_blocks, planned.call.open_text_block) == (1, 0)


def test_a_servers_tool_and_its_result_go_back_as_they_came() -> None:
    """Inside the answer, before its last text; the arguments that were streamed are put in their place."""
    planned = plan(call(), opaque(0, SEARCH, '{"query":"x"}'), opaque(1, FOUND), text(2, "It is", complete=False))
    assert planned.keep_blocks == 3
    assert planned.call.messages[1]["content"] == [
        {**SEARCH, "input": {"query": "x"}},
        FOUND,
        {"type": "text", "text": "It is"},
    ]


@pytest.mark.parametrize(
    "blocks",
    [[thought(0, complete=False)], [thought(0), tool(1, complete=False)], [text(0, "  ", complete=False)], [tool(0)]],
)
def test_without_any_text_everything_starts_again(blocks: list[Block]) -> None:
    """And nothing is kept."""
    assert plan(call(), *blocks) == Plan("restart", 0, call())


@given(st.text("ab ", min_size=1).filter(str.strip), st.text(" \n\t", max_size=4))
def test_white_space_at_the_end_is_neither_sent_nor_lost(said: str, space: str) -> None:
    """The API refuses a prefill that ends in it; the overlap is what the stream has beyond the prefill."""
    planned = plan(call(), text(0, said + space, complete=False))
    sent = planned.call.messages[-1]["content"][-1]["text"]
    assert sent == sent.rstrip() == planned.call.prefill
    assert sent + planned.call.overlap == said + space


def test_a_complete_text_has_no_overlap() -> None:
    """What follows it is a block of its own."""
    assert plan(call(), text(0, "a \n")).call.overlap == ""


def test_the_clients_own_prefill_and_the_answer_to_it_are_one_text() -> None:
    """A model must see no seam, and an echo would have both."""
    asked = [QUESTION, {"role": "assistant", "content": "Once upon"}]
    assert plan(call(messages=asked, attempt=1)).call.prefill == "Once upon"
    planned = plan(call(messages=asked), text(0, " a ti", complete=False))
    assert planned.call.messages == [
        QUESTION,
        {"role": "assistant", "content": [{"type": "text", "text": "Once upon a ti"}]},
    ]
    assert planned.call.prefill == "Once upon a ti"
    assert asked[1]["content"] == "Once upon"


def test_the_clients_own_prefill_of_blocks_keeps_them() -> None:
    """Only texts that meet are joined."""
    image = {"type": "image", "source": {}}
    asked = [QUESTION, {"role": "assistant", "content": [{"type": "text", "text": "See"}, image]}]
    assert plan(call(messages=asked, attempt=1)).call.prefill == ""
    planned = plan(call(messages=asked), text(0, "It is", complete=False))
    assert planned.call.messages[-1]["content"] == [*asked[1]["content"], {"type": "text", "text": "It is"}]


@pytest.mark.parametrize(
    ("said", "options", "left"),
    [("x" * 400, {}, 900), ("é" * 400, {}, 800), ("x" * 9000, {}, 1), ("x" * 400, THINKING, 1000), ("xxx", {}, 1000)],
)
def test_the_tokens_left_are_fewer_by_what_was_said(said: str, options: dict[str, Any], left: int) -> None:
    """By estimate; never under one, never over the request, and above what thinking may use, or the API refuses."""
    assert plan(call(options=options), text(0, said, complete=False)).call.max_tokens == left


def test_more_than_the_thinking_budget_is_left() -> None:
    """The budget must be smaller than ``max_tokens``."""
    planned = plan(call(options=THINKING, max_tokens=2000), text(0, "x" * 7000, complete=False))
    assert planned.call.max_tokens == 1025


def test_after_a_pause_everything_told_goes_back() -> None:
    """Server tools, thoughts and citations as they came; the next block follows the last."""
    cited = text(1, "It is")
    cited.add(DeltaEvent(1, data=json.dumps({"type": "citations_delta", "citation": {"url": "u"}}).encode()))  # type: ignore[arg-type]
    resumed = after_pause(call(step=5), [thought(0), cited, opaque(2, SEARCH, '{"query":"x"}')])
    assert resumed.messages[1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig/+="},
        {"type": "text", "text": "It is", "citations": [{"url": "u"}]},
        {**SEARCH, "input": {"query": "x"}},
    ]
    assert (resumed.first_block, resumed.open_text_block, resumed.step) == (3, None, 5)


def test_tool_calls_go_back_with_their_arguments() -> None:
    """Those with fields of their own keep them; arguments that are no JSON are shown as what they are."""
    extra = tool(1)
    extra.data = json.dumps({"type": "tool_use", "id": "t1", "name": "look", "input": {}, "caller": {}}).encode()
    content = assistant_content([tool(0), extra, tool(2, '{"a'), tool(3, "")], thoughts=True)
    plain = {"type": "tool_use", "id": "t1", "name": "look"}
    assert content == [
        {**plain, "input": {"a": 1}},
        {**plain, "input": {"a": 1}, "caller": {}},
        {**plain, "input": {"INVALID_JSON": '{"a'}},
        {**plain, "input": {}},
    ]


_blocks = st.lists(
    st.one_of(
        st.builds(lambda said, done: text(0, said, complete=done), st.text("ab \n", max_size=5), st.booleans()),
        st.builds(lambda done: thought(0, complete=done), st.booleans()),
        st.builds(lambda done: tool(0, complete=done), st.booleans()),
        st.builds(lambda done: opaque(0, FOUND, complete=done), st.booleans()),
    ),
    min_size=1,
    max_size=6,
)


@given(_blocks, st.sampled_from([PREFILL, USER_TURN]), st.sampled_from([{}, THINKING]))
def test_no_plan_asks_what_the_api_refuses_or_loses_what_is_kept(
    blocks: list[Block], model: Model, options: dict[str, Any]
) -> None:
    """For any blocks: valid messages, all kept text sent, only the last kept block open, and that one a text."""
    for number, block in enumerate(blocks):
        block.block = number
    planned = plan(call(model, options=options), *blocks)
    kept, asked = blocks[: planned.keep_blocks], planned.call.messages
    assert planned.call.first_block == planned.keep_blocks
    assert all(block.complete for block in kept[:-1])
    assert not any(block.kind == "tool_use" for block in kept)
    if planned.mode == "restart":
        assert (asked, kept) == ([QUESTION], [])
        return
    content = asked[1]["content"]
    assert all(part["text"].strip() for part in content if part["type"] == "text")
    assert asked[-1]["role"] == ("assistant" if planned.mode == "prefill" else "user")
    if planned.mode == "prefill":
        assert content[-1]["text"] == content[-1]["text"].rstrip()
    said = "".join(part["text"] for part in content if part["type"] == "text")
    told = "".join(block.text for block in kept if block.kind == "text" and block.text.strip())
    assert said == (told.rstrip() if planned.mode == "prefill" else told)
    assert planned.call.open_text_block == (None if kept[-1].complete else kept[-1].block)
