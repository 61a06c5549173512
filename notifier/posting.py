"""One try: a POST to a checked address, and what came back."""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import httpx

from bulksend.messaging.webhook_targets import Address, Network, Target
from notifier.address import Resolve, addresses_of

#: The whole try, and its connection, s.
TRY_S, CONNECT_S = 15.0, 5.0
#: As much of an answer is read, so that the connection can be used again, and for this long.
READ_BYTES, READ_S = 65_536, 1.0
#: Of a host with many addresses these first are tried.
_ADDRESSES = 3
_IDLE_S = 20.0


def skip_a_failing_import() -> None:
    """Have ``import sniffio`` fail at once where it is not installed.

    httpcore imports it several times for each request, and Python does not remember that an import failed: each time it
    searches every folder, 0.1 ms. That was a third of a notifier's time.
    """
    if "sniffio" not in sys.modules and find_spec("sniffio") is None:
        sys.modules["sniffio"] = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the status, or why there is none."""

    http_status: int | None
    error: str | None
    retry_after: str | None
    latency_ms: float


class Poster:
    """The connections of one endpoint. Belongs to the event loop it is made on.

    No redirects, no proxy or netrc from the environment. Each endpoint has its own: a connection is made to an address,
    and two hosts that share one must not share a connection that was checked for one of them. A connection has a client
    of its own, since a pool of httpx looks at each of its connections for each request.
    """

    def __init__(
        self, resolve: Resolve, allowed: Sequence[Network], tls: ssl.SSLContext, *, try_s: float = TRY_S
    ) -> None:
        self._resolve = resolve
        self._allowed = allowed
        self._tls = tls
        self._try_s = try_s
        self._free: list[httpx.AsyncClient] = []
        self._all: set[httpx.AsyncClient] = set()

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client for one request, with the connection used last."""
        client = self._free.pop() if self._free else self._new_client()
        try:
            yield client
        finally:
            if client in self._all:
                self._free.append(client)
            else:
                await client.aclose()

    def _new_client(self) -> httpx.AsyncClient:
        client = httpx.AsyncClient(
            verify=self._tls,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(self._try_s, connect=min(CONNECT_S, self._try_s)),
            limits=httpx.Limits(max_connections=1, keepalive_expiry=_IDLE_S),
        )
        self._all.add(client)
        return client

    async def post(self, target: Target, body: bytes, headers: Mapping[str, str]) -> Reply:
        """One try. Never raises for what the receiver does."""
        async with self._client() as client:
            return await self._post(client, target, body, headers)

    async def _post(
        self, client: httpx.AsyncClient, target: Target, body: bytes, headers: Mapping[str, str]
    ) -> Reply:
        started = time.monotonic()
        response: httpx.Response | None = None
        error: str | None = None
        try:
            async with asyncio.timeout(self._try_s):
                addresses, error = await addresses_of(target, self._resolve, self._allowed)
                if addresses:
                    response = await _to_first(client, target, addresses[:_ADDRESSES], body, headers)
        except (TimeoutError, httpx.TimeoutException):
            error = f"no answer within {self._try_s:g} s"
        except httpx.ConnectError as failure:
            error = f"no connection: {failure}"
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as failure:
            error = f"the connection failed before the answer came ({type(failure).__name__})"
        latency_ms = (time.monotonic() - started) * 1000
        if response is None:
            return Reply(None, error, None, latency_ms)
        await _read_some(response)
        return Reply(response.status_code, None, response.headers.get("retry-after"), latency_ms)

    async def close(self) -> None:
        """Close every connection; one that is in use, after its request."""
        self._all.clear()
        while self._free:
            await self._free.pop().aclose()


async def _to_first(
    client: httpx.AsyncClient,
    target: Target,
    addresses: Sequence[Address],
    body: bytes,
    headers: Mapping[str, str],
) -> httpx.Response:
    """POST to the first address that takes a connection. Raises httpx.HTTPError."""
    for address in addresses[:-1]:
        try:
            return await _to(client, target, address, body, headers)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            continue
    return await _to(client, target, addresses[-1], body, headers)


async def _to(
    client: httpx.AsyncClient, target: Target, address: Address, body: bytes, headers: Mapping[str, str]
) -> httpx.Response:
    url = httpx.URL(target.url)
    request = client.build_request(
        "POST",
        url.copy_with(host=str(address)),
        content=body,
        headers={
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "bulksend",
            **headers,
        },
        # The certificate is checked for the name, not for the address.
        extensions={"sni_hostname": target.host} if target.address is None else {},
    )
    return await client.send(request, stream=True)


async def _read_some(response: httpx.Response) -> None:
    """The status has decided: an answer that is long, slow or cut only costs its connection."""
    read = 0
    try:
        async with asyncio.timeout(READ_S):
            async for chunk in response.aiter_raw():
                read += len(chunk)
                if read > READ_BYTES:
                    break
    except (TimeoutError, httpx.HTTPError):
        pass
    finally:
        await response.aclose()
