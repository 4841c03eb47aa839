"""Networks and losses: ids in, vectors and scores out.

    ids ──► trunk (BERT) ──► embedder ──► vector ┐
                        │                        ├─► scorer ──► relevance of each candidate
                        │         candidates ────┘                    │
                        ├──► encoder ──► masked-token scores ──► marginal loss
                        └──► reader  ──► span scores ──► best span, span loss

A network here is a function of tensors: it holds no corpus, no tokenizer, no path, and knows nothing of
text or of an index.

Reading order: configuration, attention, trunk, heads, losses, masked_losses, embedder, scorer, encoder, spans, reader,
checkpoints.
"""
