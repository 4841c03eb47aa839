"""Measuring: how often answers and evidence are right. Scoring needs no torch.

    questions ─► predicting ─► predictions.jsonl ─► judging ─► figures ─► report, plots
    collection ─► beir_index ─► knowledge base ─► asking ─► rankings ─► beir: measures

May not know training. Reading order: predictions, exact_match, judging, scoring, bootstrap, calibration,
selective, significance, figures, report, plots, predicting, asking, beir,
beir_index.
"""
