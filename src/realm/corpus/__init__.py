"""Documents to blocks to the store, and the questions asked of them.

What lives here: readers of documents and questions, cutting documents into blocks, the block store and search by
words, and the test whether a passage holds an answer. What this room may not know: tensors. Word pieces come from a
tokenizer that is handed in.

    files ──readers──> Document ──chunking──> ChunkedDocument ──┬──document_store──> documents.lance ──conditions
              │                     │                           └──block_store─────> blocks.lance ─────lexical
           formats               sentences (text)                   row r there is row r of the vectors
              │                  pieces (a tokenizer, handed in)
    files ──questions──> Question, ReadingExample ──answers──> does this passage hold the answer?

Whatever is left out on the way is counted in a `SkipReport` (`skips`), never dropped in silence.

Reading order: `readers` (which files: `folders`; formats: `lines`, `whole_files` with `html_text`, `tables`,
`arrow_files` with `arrow_rows`, `wikipedia` with `wikitext` and `wikitext_marks`; below them `fields`, `skips`,
`digest_set`), `chunking` (with `cutting`, `pieces` over `words`, and `processes`), `block_store` and `document_store`
(with `lance_table`), `lexical` (blocks by their words), `conditions` with `document_columns` (blocks of documents that
fit a condition), then `questions` (with `question_formats` and `list_literal`) and `answers` (with `expressions`).
"""
