"""What a corpus teaches the rules for names: its titles, and the words it has in small letters.

Both are bounded in memory, and the same on every machine. Knows strings, not where they come from.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

import numpy as np

_ADDITION = re.compile(r"\s+\([^()]*\)\s*\Z")  # "Mercury (planet)"
_LOWER_WORD = re.compile(r"(?<![\w'’-])[a-z]\w++")
_DIGEST_BYTES = 8


class TitleSet:
    """Titles of documents, at eight bytes each: enough of a digest that a wrong "yes" is not met in practice.

    Args:
        titles: What is added in brackets, as in "Mercury (planet)", is left out. Titles of one word are not kept,
            because the rules for names have no use for them.
        max_titles: Further ones are passed over.

    Attributes:
        longest_words: Words of the longest title.
        digest: Names the set.
        left_out: How many titles were passed over because there were too many.
    """

    def __init__(self, titles: Iterable[str], max_titles: int = 20_000_000) -> None:
        digests = array("Q")
        self.longest_words = self.left_out = 0
        for title in titles:
            name = _ADDITION.sub("", title)
            words = name.count(" ") + 1
            if words == 1:
                continue
            if len(digests) >= max_titles:
                self.left_out += 1
                continue
            self.longest_words = max(self.longest_words, words)
            digests.append(_digest(name))
        self._digests = array("Q", np.unique(np.frombuffer(digests, dtype=np.uint64)).tobytes())
        self.digest = hashlib.sha256(self._digests.tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        digest = _digest(name)
        place = bisect_left(self._digests, digest)
        return place < len(self._digests) and self._digests[place] == digest


def words_in_small_letters(texts: Iterable[str], min_texts: int = 2, max_words: int = 200_000) -> frozenset[str]:
    """Words that at least `min_texts` of the texts have in small letters; a sample of a corpus is enough.

    Args:
        texts: Consumed one at a time.
        min_texts: In fewer it may be a slip.
        max_words: The most words remembered while counting; when there are more, the rarest are forgotten.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(set(_LOWER_WORD.findall(text)))
        if len(counts) > 2 * max_words:
            counts = Counter(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:max_words]))
    return frozenset(word for word, count in counts.items() if count >= min_texts)


def _digest(name: str) -> int:
    data = name.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest(), "little")
