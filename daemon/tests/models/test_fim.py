"""Formats for fill-in-the-middle: each family's prompt, as its publisher writes it."""

from __future__ import annotations

import pytest

from green_code.models.fim import find_fim

STARCODER = "<fim_prefix> <fim_middle> <fim_suffix> <fim_pad>"


@pytest.mark.parametrize(
    ("names", "prompt"),
    [
        # the READMEs of Qwen2.5-Coder, StarCoder, Code Llama, DeepSeek-Coder and Mellum; ai.google.dev for CodeGemma;
        # mistral-common's tests for Codestral
        (
            "<|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|file_sep|>",
            "<|fim_prefix|> P <|fim_suffix|> S <|fim_middle|>",
        ),
        (
            "<|fim_prefix|> <|fim_suffix|> <|fim_middle|> <|file_separator|>",
            "<|fim_prefix|> P <|fim_suffix|> S <|fim_middle|>",
        ),
        (f"{STARCODER} <filename> <gh_stars>", "<fim_prefix> P <fim_suffix> S <fim_middle>"),
        (f"{STARCODER} <file_sep> <repo_name>", "<fim_prefix> P <fim_suffix> S <fim_middle>"),
        (f"{STARCODER} <filename> <reponame> <user> <assistant>", "<fim_suffix> S <fim_prefix> P <fim_middle>"),
        ("▁<PRE> ▁<MID> ▁<SUF> ▁<EOT>", "▁<PRE> P ▁<SUF> S ▁<MID>"),
        ("<｜fim▁hole｜> <｜fim▁begin｜> <｜fim▁end｜>", "<｜fim▁begin｜> P <｜fim▁hole｜> S <｜fim▁end｜>"),
        ("[PREFIX] [MIDDLE] [SUFFIX]", "[SUFFIX] S [PREFIX] P"),
    ],
)
def test_a_prompt_is_as_the_family_was_trained(names: str, prompt: str) -> None:
    ids = {name: i for i, name in enumerate(["P", "S", *names.split()])}
    fim = find_fim(ids)
    assert fim is not None
    assert fim.prompt([ids["P"]], [ids["S"]]) == [ids[name] for name in prompt.split()]


@pytest.mark.parametrize(
    ("names", "file", "repository"),
    [
        ("<|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|file_sep|> <|repo_name|>", "<|file_sep|>", "<|repo_name|>"),
        ("<|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|file_separator|>", "<|file_separator|>", None),
        (f"{STARCODER} <file_sep> <repo_name>", "<file_sep>", "<repo_name>"),
        (f"{STARCODER} <filename> <reponame> <assistant>", "<filename>", "<reponame>"),
    ],
)
def test_files_and_repositories_have_tokens_where_the_family_has(names: str, file: str, repository: str | None) -> None:
    ids = {name: i for i, name in enumerate(names.split())}
    fim = find_fim(ids)
    assert fim is not None
    assert (fim.file, fim.repository) == (ids[file], ids[repository] if repository else None)


def test_a_tokenizer_without_a_format_has_none() -> None:
    assert find_fim({"<bos>": 0, "<fim_prefix>": 1, "<fim_suffix>": 2, "<file_sep>": 3}) is None
