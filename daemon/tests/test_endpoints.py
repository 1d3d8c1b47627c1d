"""What `greenCode.endpoint` may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.endpoints import parse_endpoint
from green_code.settings import parse_settings


@pytest.mark.parametrize(
    ("address", "completions", "root", "model"),
    [
        ("http://localhost:8012", "http://localhost:8012/v1/completions", "http://localhost:8012", ""),
        ("http://127.0.0.1:8012/v1/", "http://127.0.0.1:8012/v1/completions", "http://127.0.0.1:8012", ""),
        ("http://[::1]:8012/infill", "http://[::1]:8012/infill", "http://[::1]:8012", ""),
        ("https://ai.example.com/v1#org/m:1", "https://ai.example.com:443/v1/completions", "https://ai.example.com:443", "org/m:1"),
        ("https://AI.example.com/team/v1/completions", "https://ai.example.com:443/team/v1/completions", "https://ai.example.com:443/team", ""),
    ],
)  # fmt: skip
def test_what_follows_from_an_address(address: str, completions: str, root: str, model: str) -> None:
    found = parse_endpoint(address)
    assert (found.completions, found.root, found.model) == (completions, root, model)
    assert found.is_local == (found.host != "ai.example.com")


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("http://ai.example.com/v1", "without encryption"),
        ("http://localhost.example.com/v1", "without encryption"),
        ("http://127.0.0.1.example.com", "without encryption"),
        ("http://0.0.0.0:80", "without encryption"),
        ("https://me:hunter2@ai.example.com/v1", "name or password"),
        ("https://me:hunter2 x@ai.example.com/v1", "name or password"),
        ("https://me:hunter2@ai.example.com:abc/v1", "name or password"),
        ("https://me:hunter/2@ai.example.com", "name or password"),
        ("https://ai.example.com/v1?key=hunter2", "query"),
        ("https://ai.example.com/v1/chat/completions", "chats"),
        ("file:///etc/passwd", "no address"),
        ("ai.example.com", "no address"),
        ("https://", "no address"),
        ("https://x:99999/v1", "no address"),
        ("https://[::1/v1", "no address"),
        ("https://a b/v1", "blank"),
        ("https://a/v1\r\nX: y", "blank"),
    ],
)
def test_what_is_no_address_is_said_and_not_used(address: str, fault: str) -> None:
    settings, [message] = parse_settings({"endpoint": address})
    assert fault in message and "hunter2" not in message and settings.endpoint == ""


def test_a_model_is_no_address() -> None:
    """So nothing is sent anywhere that the editor has not asked about."""
    settings, [message] = parse_settings({"model": "https://ai.example.com/v1"})
    assert "greenCode.endpoint" in message and settings.served_by == settings.model == "gemma-3-270m"


@given(st.text())
def test_any_text_is_an_address_or_none(text: str) -> None:
    try:
        found = parse_endpoint(text)
    except ValueError:
        return
    assert found.is_local or found.origin.startswith("https://")
