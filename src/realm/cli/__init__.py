"""The command line: one file per command group; each parses, calls, prints, and knows nothing else.

Reading order: main, output, then the groups.
"""
