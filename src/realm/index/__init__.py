"""Vectors to nearest vectors.

What lives here: the vectors of all blocks on disk, the rows that are gone, and search over them. What this
room may not know: texts, blocks, documents and models. A row number goes in and comes out; what stands in the
row is the corpus's affair.

    embedder ──> VectorWriter ──> vectors/000000.f16, ...           and a Segment each, for the manifest
                 write_tombstones ──> vectors/tombstones-*.i64      and a TombstoneFile
                                          │ memory-mapped
    question ──> Index.search(queries, k) ┴──> Hits: scores and rows, best first

Reading order: `vectors` (how they are kept; below it `segments`, what the manifest says of them),
`tombstones`, `protocol` (what every index promises), `exact` (the reference: reads every vector).
"""
