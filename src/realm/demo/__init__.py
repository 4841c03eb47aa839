"""The built-in documents and questions of `realm demo`: data only, no code.

documents.jsonl       short encyclopedic passages: `id`, `title`, `text`
questions.jsonl       eight questions to ask them: `id`, `question`, `answers`, `document_id`
more_questions.jsonl  more of the same kind, for tests and benchmarks

Each question is answered by a span of one passage, `document_id`; every string in `answers` stands in it
verbatim.
All of it is original text written for this project, under Apache-2.0 like the rest.
"""
