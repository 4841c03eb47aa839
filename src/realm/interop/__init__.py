"""Other people's files, in and out: old REALM artifacts without the libraries that wrote them.

Lives here: the checkpoints and record files of Google's REALM and ORQA, and the pickled block records of
transformers 4.37.2. May not know: TensorFlow, protobuf, networks, the knowledge base. Every file is taken as
hostile: nothing in it is run, every length is checked before it is used, and what is wrong with it is said in
one line.

    wire ── tfexample ──────── tf.Example messages
     │        crc32c ── tfrecord ──────────────────── .tfr / .tfrecord.gz
     │          │
     └── sstable ── bundle_entries ── tensorflow_bundle, tensorflow_bundle_writer ── .index and .data-* files
                                          │
         google_names ── google_plan ── google_checkpoint ──── state dicts of our networks

    pickle_stack ── array_pickle ── legacy_records ──── block_records.npy

Reading order: `legacy_records`, `tfrecord`, `tfexample`, `tensorflow_bundle`, `google_names`,
`google_checkpoint`; the others are the formats below them.
"""
