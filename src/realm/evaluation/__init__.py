"""Measuring: how often answers and evidence are right. Scoring needs no torch.

    questions + predictions ─► exact_match, recall ─► figures

May not know training. Reading order: exact_match.
"""
