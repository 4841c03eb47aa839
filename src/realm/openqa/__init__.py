"""The composed system: a question in, a span of a document out.

    question ─► RealmForOpenQA: embedder ─► searcher ─► RealmRetriever ─► reader ─► word pieces     (tensors)
    question ─► OpenQA.ask: the same over a KnowledgeBase ─► Answer with evidence and offsets       (text)
    sources  ─► indexing ─► KnowledgeBase: documents, blocks, vectors, model, one manifest

May not know optimisers or HTTP. Reading order: answer_search, retriever, model, manifest, knowledge_base,
default_model, indexing, ask.
"""
