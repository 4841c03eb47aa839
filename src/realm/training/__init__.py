"""Learning: jobs that turn texts and a warm start into better networks.

    recipe (TOML) ─► job (data + loss, a pure function of step) ─► loop (Accelerate) ─► run folder
                                                                      │
                                             checkpoints, log, resume ┘

May not know serving or the command line. Reading order:

    the loop      recipe, job, distributed, loop, schedule, finiteness, checkpoint, origin, dev_metric, log, recomputing
    beginnings    warm_start, tokenizer_files, shuffling
    blocks        token_store, given_blocks, block_source, corpus_vectors, corpus_embedding
    index refresh whole_folders, exports, snapshot_search, snapshots, snapshot_making, heartbeat, refresh_recipe,
                  refresh (refresh_waiting), refresh_process
    masked spans  masking, masked_blocks, salient_store (salient_files), candidates, annotated, annotated_blocks,
                  taggers, pretrain_recipe, pretrain (pretrain_sources, _sentences, _data, _retrieval, _inputs, _model,
                  _start, _result, _recall)
    answers       finetune_recipe, finetune_questions, finetune_answers, finetune_inputs, finetune (finetune_sources,
                  _vectors, _retrieval, _figures, _model, _start)
    inverse cloze inverse_cloze, gradient_caching, ict_recipe, ict_data, ict_start, ict
    realm-mini    reading_data, distant_passages, hard_negatives, embedder, reader, packing
"""
