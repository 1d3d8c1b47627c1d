"""A server as a loaded model. To load it is to ask which models it has, and which format of fill-in-the-middle they know.

Must not know: connections of ours, editors, torch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from green_code.endpoints import parse_endpoint
from green_code.energy.rows import UNKNOWN
from green_code.engine.interfaces import REMOTE, EndpointProblem, Progress
from green_code.engine.prompts import SUFFIX_TOKENS, PromptLayout, layout_of
from green_code.engine.remote.answers import Unusable, models_of, token_count
from green_code.engine.remote.client import Client
from green_code.engine.remote.session import RemoteSession
from green_code.engine.remote.text import CHARACTERS_PER_TOKEN, INFILL, ServerTokens
from green_code.models.fim import find_fim
from green_code.problems import Problem, shown

_NAMED_AT_MOST: Final = 5


def connect(address: str, api_keys: Mapping[str, str], progress: Progress = lambda *_: None) -> RemoteRuntime:
    """
    Args:
        api_keys: by origin; what is in force at each request counts.
    Raises:
        Problem: the address cannot be used. EndpointProblem: there is no server, or not with this model.
    """
    try:
        endpoint = parse_endpoint(address)
    except ValueError as error:
        raise Problem("bad_request", f"greenCode.endpoint: {error}.") from error
    progress("loading", f"Connecting to {endpoint.host}", None)
    loop = asyncio.new_event_loop()
    client = Client(endpoint, lambda: api_keys.get(endpoint.origin, ""))
    try:
        model = loop.run_until_complete(_model(client))
        return RemoteRuntime(address, client, model, _layout(client, model, loop), loop)
    except BaseException:
        loop.run_until_complete(client.close())
        loop.close()
        raise


class RemoteRuntime:
    """See `interfaces.Runtime`. One thread at a time uses it."""

    bundle = card = ""
    device = REMOTE
    layers_total = 0
    exits: tuple[int, ...] = ()
    energy_source = UNKNOWN
    costs_assumed = False
    notice = ""
    idle_watts = 0.0
    calibration: Mapping[str, Any] = {}

    def __init__(
        self, address: str, client: Client, model: str, layout: PromptLayout, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.model = self.weights = address
        self.name, self.layout = model, layout
        self._client, self._loop = client, loop

    @property
    def reads_snippets(self) -> bool:
        """See `interfaces.Runtime`."""
        return self.layout.reads_snippets

    def threshold(self, threshold: float | str) -> float:
        """No exits decide there."""
        return 1.0

    def measure_costs(self, interrupted: Callable[[], bool]) -> None:
        """There is nothing to measure here."""

    def new_session(self) -> RemoteSession:
        return RemoteSession(self._client, self.name, self.layout, self._loop)

    def close(self) -> None:
        """Close the connections."""
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


async def _model(client: Client) -> str:
    """The name to ask for; empty where the server wants none. Raises EndpointProblem."""
    endpoint = client.endpoint
    if endpoint.infill:
        return endpoint.model
    content = await client.ask("GET", endpoint.completions.removesuffix("/completions") + "/models")
    try:
        models = None if content is None else models_of(content)
    except Unusable:
        models = None
    if models is None:  # it lists none
        if not endpoint.model:
            raise EndpointProblem(
                f"{endpoint.host} does not list its models; write the model's name behind # in greenCode.endpoint."
            )
        return endpoint.model
    if endpoint.model in models or (len(models) == 1 and not endpoint.model):
        return endpoint.model or models[0]
    known = ", ".join(shown(model) for model in models[:_NAMED_AT_MOST]) or "none"
    asked = f"has no model {shown(endpoint.model)}" if endpoint.model else "has several models"
    raise EndpointProblem(f"{endpoint.host} {asked}: it has {known}. Write one's name behind # in greenCode.endpoint.")


def _layout(client: Client, model: str, loop: asyncio.AbstractEventLoop) -> PromptLayout:
    """By the special tokens that the server's tokenizer knows. Raises EndpointProblem."""
    characters = CHARACTERS_PER_TOKEN * SUFFIX_TOKENS
    if client.endpoint.infill:
        return PromptLayout("fim", INFILL, characters)
    fim = find_fim(ServerTokens(lambda text: loop.run_until_complete(_count(client, model, text))))
    layout = layout_of(model, fim, None)
    return PromptLayout(layout.form, layout.fim, characters)


async def _count(client: Client, model: str, text: str) -> int | None:
    """How many tokens the server makes of a text that may be a special token; None: it does not say. Raises EndpointProblem."""
    # llama-server's names, and vLLM's.
    body = {
        "content": text,
        "parse_special": True,
        "add_special": False,
        "model": model,
        "prompt": text,
        "add_special_tokens": False,
    }
    content = await client.ask("POST", f"{client.endpoint.root}/tokenize", body)
    try:
        return None if content is None else token_count(content)
    except Unusable:
        return None
