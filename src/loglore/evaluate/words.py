"""Text to tokens for the metrics: what counts as a word, in every language.

The reference ROUGE package keeps only `a-z0-9`, so Japanese scores 0; the reference BLEU tokenizer 13a leaves a
Japanese sentence as one token. Here text in a script that is written without spaces becomes one token a character
(as sacrebleu's own `zh` tokenizer does for Chinese), everything else words. On ASCII both functions return exactly
what the reference packages do. The price: no morphological analysis, so a Japanese n-gram is shorter than a word.

    >>> rouge_words("Disk /dev/sda1 is full")
    ['disk', 'dev', 'sda1', 'is', 'full']
    >>> rouge_words("ディスクfull: 99%")
    ['デ', 'ィ', 'ス', 'ク', 'full', '99']
    >>> bleu_words("port 80 は使用中。")
    ['port', '80', 'は', '使', '用', '中', '。']
"""

import functools
import re
import unicodedata
from typing import Any

_ASCII_WORD = re.compile(r"[a-z0-9]+")
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー"
_CJK_PUNCTUATION = r"\u3000-\u303f\u30fb\uff00-\uff65"
ROUGE_TOKENS = "lower-case runs of letters, marks and digits; one per character in unspaced scripts; NFKC if not ASCII"
BLEU_TOKENS = "13a, with spaces set around each character of unspaced scripts"


def rouge_words(text: str) -> list[str]:
    """Lower-case words of `text`, without punctuation: `rouge_score`'s tokens (no stemmer) if `text` is ASCII.

    Other text is normalized (NFKC: full-width and half-width forms become one) and split into runs of letters, marks
    and digits of any script, or single characters where the script puts no spaces between words.
    """
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return list(_unicode_word().findall(unicodedata.normalize("NFKC", text).lower()))


def bleu_words(text: str) -> list[str]:
    """Tokens of sacrebleu's `13a`; characters of unspaced scripts and their punctuation stand alone."""
    if not text.isascii():
        text = _unspaced_character().sub(r" \g<0> ", text)
    return str(_tokenizer_13a()(text.rstrip())).split()


def language_of(text: str) -> str:
    """`ja` where kana stand, `zh` for Han without kana, else `en`; a guess for rows that do not say their language."""
    found = _east_asian().findall(text)
    if any(kana for kana, _ in found):
        return "ja"
    return "zh" if len(found) > len(text) / 10 else "en"


@functools.cache
def _unicode_word() -> Any:
    import regex

    return regex.compile(
        rf"[[{_UNSPACED}]&&[\p{{L}}\p{{N}}]]\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+", regex.VERSION1
    )


@functools.cache
def _unspaced_character() -> Any:
    import regex

    return regex.compile(rf"[{_UNSPACED}]\p{{M}}*|[{_CJK_PUNCTUATION}]", regex.VERSION1)


@functools.cache
def _tokenizer_13a() -> Any:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()


@functools.cache
def _east_asian() -> Any:
    import regex

    return regex.compile(r"([\p{Hiragana}\p{Katakana}])|(\p{Han})")
