"""Addresses of servers: what `greenCode.endpoint` may be, and what follows from it.

    https://HOST[:PORT][/PATH]/v1[/completions][#MODEL]      any server with OpenAI's completions (vLLM, llama-server)
    https://HOST[:PORT][/PATH]/infill                        llama-server's fill-in-the-middle

Without encryption only this machine is reached. An address never holds an API key, since it stands in settings and in the ledger.
Must not know: HTTP, or what is sent there.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from green_code.problems import shown

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Endpoint:
    """A server in the place of a local model.

    Args:
        origin: scheme, host and port. The API key and the user's consent belong to it.
        completions: where completions are asked for. root: what the server's other addresses begin with.
        model: of its models, the one to ask; empty: the only one.
        infill: it takes the parts of a fill-in-the-middle prompt, and not one text.
        is_local: it is on this machine.
    """

    origin: str
    host: str
    completions: str
    root: str
    model: str
    infill: bool
    is_local: bool


def is_endpoint(model: str) -> bool:
    """Whether what stands for a model is the address of a server."""
    return model[:8].lower().startswith(("http://", "https://"))


def parse_endpoint(address: str) -> Endpoint:
    """
    Raises:
        ValueError: it cannot be used; the message is the end of a sentence that the setting's name begins.
    """
    parts, port = _split(address)
    host = parts.hostname or ""
    is_local = _is_local(host)
    if parts.scheme == "http" and not is_local:
        raise ValueError(f"{shown(address)} would send code without encryption; write https://")
    origin = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port or _PORTS[parts.scheme]}"
    path = parts.path.rstrip("/")
    if path.endswith("/chat/completions"):
        raise ValueError(f"{shown(address)} is for chats; write the address that ends in /v1")
    infill = path.endswith("/infill")
    base = path.removesuffix("/infill") if infill else path.removesuffix("/completions")
    if not (infill or path.endswith("/completions") or base):
        base = "/v1"
    completions = f"{origin}{base}/infill" if infill else f"{origin}{base}/completions"
    return Endpoint(origin, host, completions, f"{origin}{base.removesuffix('/v1')}", parts.fragment, infill, is_local)


def _split(address: str) -> tuple[SplitResult, int | None]:
    if "@" in address.partition("#")[0]:
        # Not echoed, here or below: it may hold a password.
        raise ValueError("it holds a name or password; remove it, and run Green Code: Set API Key")
    if any(character <= " " or character == "\x7f" for character in address):
        raise ValueError(f"{shown(address)} has a blank or a control character")
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{shown(address)} is no address ({error})") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{shown(address)} is no address that begins with https:// or http://localhost")
    if parts.query:
        raise ValueError(
            "it has a query (?), which is not supported; remove it, and store the API key with Green Code: Set API Key"
        )
    return parts, port


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
