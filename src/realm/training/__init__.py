"""Learning: jobs that turn texts and a warm start into better networks.

    recipe (TOML) ─► job (data + loss, a pure function of step) ─► loop (Accelerate) ─► run folder
                                                                      │
                                             checkpoints, log, resume ┘

May not know serving or the command line. Reading order: recipe, loop, checkpoint, warm_start,
reading_data, inverse_cloze, then the jobs, and packing.
"""
