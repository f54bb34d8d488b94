"""Pages of lists as in OpenAI's API: `after` the last id of the page before, `limit`, and whether there is more."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query

from loglore.api.errors import ApiError

T = TypeVar("T")
MOST = 100

Limit = Annotated[int, Query(ge=1, le=MOST, description="most objects of a page")]
After = Annotated[str | None, Query(max_length=200, description="id of the last object of the page before")]


def page(objects: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    """A page of objects with ids, out of one more than `limit` where there are more.

    >>> page([{"id": "b"}, {"id": "a"}], 1)
    {'object': 'list', 'data': [{'id': 'b'}], 'first_id': 'b', 'last_id': 'b', 'has_more': True}
    """
    shown = list(objects[:limit])
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(objects) > limit,
    }


def cut(items: Sequence[T], ids: Sequence[str], after: str | None, limit: int) -> list[T]:
    """The part of a short list that a page needs: at most `limit` + 1 items behind the one with the id `after`.

    Raises:
        ApiError: 400 for an id that is not in the list.
    """
    if after is None:
        return list(items[: limit + 1])
    if after not in ids:
        raise ApiError(400, f"after: {after!r} is not in this list", "invalid_value", "after")
    start = ids.index(after) + 1
    return list(items[start : start + limit + 1])
