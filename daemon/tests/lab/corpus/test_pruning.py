"""A pruned vocabulary reaches every token that it keeps."""

from __future__ import annotations

from green_code.models.vocabulary import Pieces, Vocabulary, build_tokenizer
from green_code_lab.corpus.pruning import choose_ids


def test_a_pruned_vocabulary_keeps_the_parts_of_its_tokens() -> None:
    texts = ["<eos>", "<bos>", *(f"<0x{b:02X}>" for b in range(256)), *"abcdefgh", "▁", "\n", "ab", "cd", "abcd", "gh"]
    kinds = [3, 3, *[6] * 256, *[1] * (len(texts) - 258)]
    pieces = Pieces(texts, [-float(i) for i in range(len(texts))], kinds, bos=1, eos=0)
    counts = [0] * len(texts)
    counts[texts.index("abcd")] = 5
    ids = choose_ids(pieces, counts, 300)
    pruned = pieces.subset(ids)
    vocabulary = Vocabulary(build_tokenizer(pruned), pruned.bos, pruned.ends)
    assert [vocabulary.token_bytes[i] for i in vocabulary.encode("abcd")] == [b"abcd"]
    assert vocabulary.decode(vocabulary.encode("gh")) == "gh"
