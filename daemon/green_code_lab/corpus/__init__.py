"""Training corpora: source files in, token shards out.

`installed`, `jdk`, `sdists` and `own_code` read source files; `copies` and `evaluation_rows` keep out what must not be
in; `split` holds out whole projects; `shards` writes and opens the result; `command` is `green-code adapt corpus`.

Must not know: models or losses.
"""

from green_code_lab.corpus.shards import ABOUT, Corpus, corpus_digest, open_corpus

__all__ = ["ABOUT", "Corpus", "corpus_digest", "open_corpus"]
