"""What endpoints share: the service they are about, and waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from realm.serving.failures import LeftError, TimedOutError
from realm.serving.service import Service

T = TypeVar("T")


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceOfApp = Annotated[Service, Depends(_service)]


def result_now(future: Future[T]) -> T:
    """A result that is there, or never will be.

    Raises:
        TimedOutError: It is not there.
    """
    if not future.done() or future.cancelled():
        raise TimedOutError("No answer in time. Ask for less, or later.")
    return future.result()


async def result_of(future: Future[T], timeout_seconds: float | None) -> T:
    """Wait for a result; if it takes too long, nobody waits for it any more.

    Raises:
        TimedOutError: It took too long.
    """
    try:
        return await asyncio.wait_for(asyncio.wrap_future(future), timeout_seconds)
    except TimeoutError as exc:
        raise TimedOutError(f"No answer within {timeout_seconds:g} s. Ask for less, or later.") from exc


async def unless_left(request: Request, wanted: Coroutine[Any, Any, T]) -> T:
    """Wait for something as long as the asker does; `wanted` is cancelled when the asker goes. The body has been read.

    Raises:
        LeftError: The asker has gone.
    """
    waiting, leaving = asyncio.ensure_future(wanted), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        raise LeftError("The client has left.")
    finally:
        waiting.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
