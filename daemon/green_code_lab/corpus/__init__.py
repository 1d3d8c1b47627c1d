"""Training corpora: source files in, token shards out.

`installed`, `jdk`, `sdists` and `own_code` read files, `copies` and `evaluation_rows` filter, `split` holds out projects.
"""

from green_code_lab.corpus.shards import ABOUT, Corpus, corpus_digest, open_corpus

__all__ = ["ABOUT", "Corpus", "corpus_digest", "open_corpus"]
