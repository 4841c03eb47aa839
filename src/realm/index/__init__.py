"""Vectors to nearest vectors.

What lives here: the vectors of all blocks on disk, their int8 copy and their sketches, the rows that are gone, and
search over them. What this room may not know: texts, blocks, documents and models. A row number goes in and comes out;
what stands in the row is the corpus's affair.

    embedder ──┬─> VectorWriter ──> vectors/000000.f16, ...                and a Segment each, for the manifest
               └─> CodeWriter ────> vectors/000000.i8, 000000.scale, ...   and a CodeSegment each
                   build_sketches ──> vectors/000000.sketch, ...           and a SketchSegment each
                   write_tombstones ──> vectors/tombstones-*.i64           and a TombstoneFile
                   build_faiss ──> index/*.faiss                           and a FaissEntry
                                          │ memory-mapped
    question ──> Index.search(queries, k) ┴──> Hits: scores and rows, best first

Reading order: `vectors` (how they are kept; below it `segments`, what the manifest says of them, and `appending`),
`quantising`, `codes` (with `code_segments`), `sketching`, `sketches`, `tombstones`, `protocol` (what every index
promises), `scans`, `code_scans` and `sketch_scan` (the bounds and their proofs; `lent_codes` lets FAISS read mapped
files), `shortlist`, `exact` (the reference: no row better than those it gives), then `faiss_index` with `faiss_build`,
`faiss_file`, `faiss_entry`, `faiss_rows` and `faiss_probe` (larger corpora: nearly all of the best).
"""
