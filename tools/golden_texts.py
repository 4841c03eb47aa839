"""Texts and word pieces of the tokenizer goldens, one text a line; what is not ASCII is escaped.

They are chosen for what goes wrong: accents, scripts without spaces, Hangul, emoji, control and private
characters, punctuation of every kind, special tokens inside a text, words of a hundred letters and more.
"""

from __future__ import annotations

SPECIAL = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_LETTERS = list("abcdefghijklmnopqrstuvwxyz0123456789")
_PUNCTUATION = r"""
! " # $ % & ' ( ) * + , - . / : ; < = > ? @ [ \\ ] ^ _ ` { | } ~ \u2019 \u201c \u2014 \u3002 \uff0c
\xbf \u2026
"""
_WIDER = r"""
\xe9 \xfc \xf1 \xe5 \xdf \xf8 \u0142 \u0131 \u03c3 \u03c2 \u0434 \u0436 \u05d0 \u0628 \u0939 \u4e2d
\u56fd \u65e5 \u672c \u304b \u30ab \ud55c \u1112 \u1161 \u11ab \U0001f600 \U00020000 \u20ac \xb2
\ufb01 A B N Y \xc9
"""
_WORDS = """
the un want runn hello world new york naive cafe uber who is pioneer in modern computer science we
do n't know it was alan turing long est first second ##want ##ed ##ing ##s ##er ##llo wor ##ld Hello
World New-York u.s. don can 1984
"""
_ENDINGS = r"<unk> <s> </s> <mask> <pad> qu\u00e9 ##\u0301"
_TEXTS = r"""
UNwant\xe9d,running
Hello World!
\x20
\t\n\r
a  b\tc\nd\re
a\xa0b\u2003c\u3000d\u2028e\u2029f\x85g
caf\xe9 cafe\u0301 CAF\xc9 na\xefve \xdcber
\xdf \xf8 \u0142 \u0130 \u0131 \u01c5
\u4e2d\u56fd\u4eba
ab\u4e2d\u56fdcd
\u65e5\u672c\u8a9e\u304b\u306a\u30ab\u30ca
\ud55c\uad6d\uc5b4
\u1112\u1161\u11ab
\U0001f600\U0001f44d\U0001f3fd
\u2764\ufe0f \U0001f468\u200d\U0001f469\u200d\U0001f467
a\u200bb\u200dc\ufeffd\xade
a\x00b\x01c\x7fd\ufffde
don't can't won't it's
New-York, u.s. 1984.
\u2019quoted\u2019 \u201ctext\u201d \u2014 \u2026
\u3002\uff0c\uff01
[CLS] hello [SEP] world [MASK]
[sep] [Mask] [UNK]
hello[SEP]world
[unused0] [unused1]
##ing run##ing
#hash @at $5 a_b ^^
\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2
\u0414\u043e\u043c \u0436\u0438\u0437\u043d\u044c
\u05e9\u05dc\u05d5\u05dd \u05d0
\u0645\u0631\u062d\u0628\u0627 \u0628
\u0939\u093f\u0928\u094d\u0926\u0940
\u0e44\u0e17\u0e22
\U00020000\U0002a700
\u20ac\xb2\xbd\u2167
\ufb01nal \uff28\uff25\uff2c\uff2c\uff2f
a\u0301\u0302 \u0301
\ue000\uf8ff
1,000.50 50% 3-4 <s> </s>
who is the pioneer in modern computer science?
we do n't know , it 's new .
HELLO hello HeLLo
qu\xe9 QU\xc9 que
\u212b \u2126 \u1e9e
\x20\x20\x20leading\x20and\x20trailing\x20\x20\x20
"""
NEVER_SPLIT_TEXTS = [
    "New-York, u.s. [unused0] don't",
    "new-york, U.S. [UNUSED0] DON'T",
    "a u.s. b",
    "(u.s.)",
    "u.s.a",
    "zz-zz zz-zzz can't",
]


def _unescaped(text: str) -> str:
    return text.encode("ascii").decode("unicode_escape")


TEXTS = ["", *map(_unescaped, _TEXTS.strip("\n").split("\n"))]
LONG_TEXTS = [
    "x" * 99,
    "x" * 100,
    "x" * 101,
    f"hello {'a' * 101} world",
    "\u4e2d" * 101,
    "a" * 50 + "," + "b" * 60,
]


def vocabulary() -> list[str]:
    """Every word piece once; letters also as the inside of a word."""
    wider = _unescaped(_WIDER).split()
    pieces = [*SPECIAL, *_unescaped(_PUNCTUATION).split(), *_LETTERS, *wider, *_WORDS.split()]
    pieces += [f"##{piece}" for piece in [*_LETTERS, *wider]]
    return list(dict.fromkeys([*pieces, *_unescaped(_ENDINGS).split()]))
