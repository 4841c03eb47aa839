"""Documents to blocks to the store, and the questions asked of them.

What lives here: readers of documents and questions, cutting documents into blocks, the block store, and the
test whether a passage holds an answer. What this room may not know: tensors. Word pieces come from a
tokenizer that is handed in.

    files ──readers──> Document ──chunking──> ChunkedDocument ──┬──document_store──> documents.lance
              │                     │                           └──block_store─────> blocks.lance
            lines               sentences (text)                    row r there is row r of the vectors
              │                 pieces (a tokenizer, handed in)
    files ──questions──> Question, ReadingExample ──answers──> does this passage hold the answer?

Whatever is left out on the way is counted in a `SkipReport` (`skips`), never dropped in silence.

Reading order: `readers` (with `lines`, `fields` and `skips` below it), `chunking` (with `pieces`),
`block_store` and `document_store` (with `lance_table`), then `questions` and `answers`.
"""
