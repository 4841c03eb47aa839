"""The composed system: a question in, a span of a document out.

    question ─► RealmForOpenQA: embedder ─► searcher ─► RealmRetriever ─► reader ─► word pieces     (tensors)
    question ─► OpenQA.ask: the same over a KnowledgeBase ─► Answer with evidence and offsets       (text)
    sources  ─► indexing ─► KnowledgeBase: documents, blocks, vectors, indexes, one manifest a version
    old artifacts ─► importing ─► KnowledgeBase ─► exporting ─► old artifacts, flat files

May not know optimisers or HTTP. Reading order: answer_search, retriever, readings, block_vectors, model (tensors);
manifest, file_digests, versions, knowledge_base, verification, pending, parts, search_index, writer (with write_lock),
survey, estimate, memory, index_report, indexing, compaction (the knowledge base); default_model, calibration,
batch_embedding, model_folder, search, asked, span_choice, answer_signs, ask (questions); importing, exporting.
"""
