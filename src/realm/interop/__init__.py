"""Other people's files, in and out: old REALM artifacts without the libraries that wrote them.

Lives here: the checkpoints and record files of Google's REALM and ORQA, the folders of transformers 4.37.2 with their
pickled block records, DPR's passages, and flat files of blocks and vectors. May not know: TensorFlow, protobuf, the
knowledge base; it runs no network (it reads RealmConfig and tokenizers). Every file is taken as
hostile: nothing in it is run, every length is checked before it is used, and what is wrong with it is said in
one line.

    wire ── tfexample ──────── tf.Example messages
     │        crc32c ── tfrecord ──────────────────── .tfr / .tfrecord.gz
     │          │
     └── sstable ── bundle_entries ── tensorflow_bundle, tensorflow_bundle_writer ── .index and .data-* files
                                          │
         google_names ── google_plan ── google_checkpoint ──── state dicts of our networks

    pickle_stack ── array_pickle ── legacy_records ──── block_records.npy

    legacy_records, safetensors_stream ── huggingface_folder ─┐
    google_checkpoint, tfrecord ───────── google_folder ──────┴─ release: what a released model consists of
    npy_stream, block_table, dpr_passages, staging ──── flat files, and outputs that appear whole or not at all

Reading order: `legacy_records`, `tfrecord`, `tfexample`, `tensorflow_bundle`, `google_names`,
`google_checkpoint`, `release`, `huggingface_folder`, `google_folder`, `dpr_passages`, `block_table`, `staging`; the
others are the formats below them.
"""
