"""Makes transformers' Auto classes know `realm`; called by each network's file when it is first imported."""
