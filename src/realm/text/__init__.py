"""Strings to ids and back, and what can be said about a text by looking at it.

What lives here: the two tokenizers of the model, sentence borders, and the spans worth masking. What this
room may not know: networks, the index, the corpus and its files. A text comes in, positions or word-piece ids
go out.

    text ──> tokenization   ──> word pieces, with the characters each came from
         ──> sentences      ──> sentence ranges             (corpus packs them into blocks, ICT draws one)
         ──> salient spans  ──> ranges of names and dates   (pre-training masks them)

Reading order: `tokenization` (RealmTokenizer, RealmTokenizerFast: needs transformers), `pieces` (plain word pieces,
many texts at once: needs tokenizers only), then `sentences`, `dates`, `salient`, `names` with `name_words`, and
`corpus_words` (standard library only, and so cheap to import).
"""
