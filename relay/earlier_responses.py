"""What is known of a response beside its stream: what it was asked, for those who ask again or go on from it."""

from __future__ import annotations

from relay.dialects.responses_body import ItemReference, ResponsesBody
from relay.dialects.responses_items import Item
from relay.dialects.responses_object import NOTHING_ASKED, Asked, output_item, place_of_item, stream_of
from relay.dialects.responses_request import asked_from, said_before
from relay.parsing import checked, refuse
from relay.services import Services
from relay.state import fold_log, owned_record
from shared.answer import Answer
from shared.errors import GoneError, NotFoundError

_FIELD = "previous_response_id"
_GONE = "there is no such item, or no longer; send the item itself"
_MOST_REFERRED = 64
"""Earlier responses that one request may name items of, since each is read as a whole."""


async def asked_of_stream(services: Services, stream_id: str) -> Asked:
    """Return what a stream was asked; of one that nothing is kept of, nothing. Raises ``RedisError``."""
    return asked_from(await services.log.kept.read(stream_id)) or NOTHING_ASKED


async def with_references(services: Services, tenant: str, body: ResponsesBody) -> ResponsesBody:
    """Return the body with the items of earlier responses in the places where it names them.

    Raises ``InvalidRequestError`` for what is no item of a response of the tenant.
    """
    if isinstance(body.input, str):
        return body
    answers: dict[str, Answer] = {}
    items: list[Item] = []
    for number, item in enumerate(body.input):
        if item.get("type") != "item_reference":
            items.append(item)
            continue
        place = place_of_item(checked(ItemReference, item, "input", number).id)
        if place is None:
            refuse("must be the id of an output item of this service", "input", number, "id")
        if place[0] not in answers and len(answers) == _MOST_REFERRED:
            refuse(f"leads to one response more than {_MOST_REFERRED}; send the items themselves", "input", number)
        items.append(await _referred(services, tenant, place, answers) or refuse(_GONE, "input", number, "id"))
    return body.model_copy(update={"input": items})


async def _referred(services: Services, tenant: str, place: tuple[str, int], answers: dict[str, Answer]) -> Item | None:
    """Return the item of one block, None if there is none; ``answers`` are those that were read already."""
    stream_id, number = place
    try:
        if stream_id not in answers:
            await owned_record(services.log, stream_id, tenant)
            answers[stream_id] = await fold_log(services.log, stream_id)
    except (NotFoundError, GoneError):
        return None
    answer = answers[stream_id]
    block = next((block for block in answer.blocks if block.block == number), None)
    return output_item(stream_id, block, answer) if block else None


async def conversation_of(services: Services, tenant: str, response_id: str | None) -> list[Item]:
    """Return all that was said up to the end of an earlier response of the tenant; nothing where there is none.

    Raises ``InvalidRequestError`` for one that cannot be gone on from.
    """
    if response_id is None:
        return []
    try:
        stream_id = stream_of(response_id)
        await owned_record(services.log, stream_id, tenant)
        asked = asked_from(await services.log.kept.read(stream_id))
        answer = await fold_log(services.log, stream_id)
    except (NotFoundError, GoneError):
        refuse("there is no such response, or no longer; send the whole conversation as input", _FIELD)
    if asked is None:
        refuse(
            "nothing is kept of this response: its store was false, or it is no response of this API's; send the "
            "whole conversation as input",
            _FIELD,
        )
    if answer.end is None:
        refuse("this response is still being made; wait for its end", _FIELD)
    return said_before(stream_id, asked, answer)
