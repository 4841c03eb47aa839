"""The one door between words and tensors: inputs for every network, and spans back to characters.

    question ids ─► [CLS] question [SEP] ──────────────► embedder
    block ids    ─► [CLS] title [SEP] body [SEP] ──────► embedder
    both         ─► [CLS] question [SEP] body [SEP] ───► reader, encoder
    piece span   ◄─ offsets ◄─ best span of the reader

May not know an index or a disk. Reading order: inputs.
"""
