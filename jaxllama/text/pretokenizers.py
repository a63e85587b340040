"""How BPE vocabularies cut text into words: `tokenizer.ggml.pre` -> regular expressions, for Oniguruma.

The expressions are applied one after the other; each cuts the pieces that the one before left, and what no expression matches stays a piece of its own.
They come from the models' own tokenizer.json, in the form in which llama.cpp applies them: where the two differ, llama.cpp's words are made. It knows one kind
of letter beside a-z and A-Z (so `Lu` and its like are all letters), and digits of ASCII only for `\\d`.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class PreTokenizer(NamedTuple):
    """A row of the table.

    Attributes:
        patterns: regular expressions.
        ignore_merges: a word that is a token is taken whole, whatever the merges say.
        add_bos: where the file does not say.
        raw: tokens are text, with `▁` for a space if `escape`; otherwise they are bytes in GPT-2's printable stand-ins.
        whole_lines: lines are words, and runs of newlines that are tokens are taken whole.
        ascii: expressions that do the same on lines of ASCII, and faster; lines are independent then.
    """

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False
    raw: bool = False
    escape: bool = False
    whole_lines: bool = False
    ascii: tuple[str, ...] = ()


_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_CONTRACTION = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_WORD, _MARKS = r"[^\r\n\p{L}\p{N}]?\p{L}+", r" ?[^\s\p{L}\p{N}]+[\r\n]*"


def _llama3(digits: str = r"\p{N}{1,3}", word: str = _WORD, marks: str = _MARKS, spaces: str = _SPACES, contraction: str = _CONTRACTION + "|") -> str:
    return f"{contraction}{word}|{digits}|{marks}|{spaces}"


def _cased(lower: str, upper: str, ending: str) -> str:
    """Words that change from capitals to small letters at most once."""
    head = r"[^\r\n\p{L}\p{N}]?"
    return f"{head}{upper}*{lower}+{ending}|{head}{upper}+{lower}*{ending}"


_NOT_UPPER, _NOT_LOWER = r"[\p{L}&&[^A-Z]]", r"[\p{L}&&[^a-z]]"
_NOT_UPPER_MARKS, _NOT_LOWER_MARKS = r"[\p{L}\p{M}&&[^A-Z]]", r"[\p{L}\p{M}&&[^a-z]]"
_ANY_CASE = r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+" + _CONTRACTION + "?"
_SLASHED = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_GPT4O = _llama3(word=_cased(_NOT_UPPER, _NOT_LOWER, _CONTRACTION + "?"), marks=_SLASHED, contraction="")
_ASCII_WORD = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
_DEEPSEEK3 = rf"{_ASCII_WORD}| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}"
_CJK = r"[一-龥぀-ゟ゠-ヿ]+"
_CJK_WIDE = r"(?:(?!\s)[一-龥ࠀ-一가-퟿])+"
_DEEPSEEK_LETTERS = (
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼ"
    r"ℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+"
)
_HAN = r"[一-鿿㐀-䶿\x{20000}-\x{2A6DF}\x{2A700}-\x{2EBEF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}]"
_KIMI = rf"{_HAN}+|[^\r\n\p{{L}}\p{{N}}]?(?:(?!{_HAN})\p{{L}})+{_CONTRACTION}?|\p{{N}}{{1,3}}|{_MARKS}|{_SPACES}"
_THREES = r"\P{N}*\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))"  # digits in threes from the right; what is before them stays with the first ones
_ASIAN = r"[一-鿿㐀-䶿豈-\x{FAFF}぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-\x{D7AF}ᄀ-ᇿ]+"
_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
_LINES = r"[^\n]+|[\n]+"
_CASCADE = r"\s*[\r\n]+|" + "|".join(rf"\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4)) + r"|\s{1,2}(?!\S)|\s{1}"
_YOUTU = (r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" + _CJK, _llama3(r"\p{N}", _ANY_CASE, _SLASHED, contraction=""))
_CHAMELEON = (r"<sentinel:[0-9]+>", r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", r"([\t\n]|    |  )", r"\p{N}", r"[\p{P}!-/:-@\[-`{-~]", _GPT2)


def _rows(names: str, *patterns: str, **settings: Any) -> dict[str, PreTokenizer]:
    return dict.fromkeys(names.split(), PreTokenizer(patterns, **settings))


PRETOKENIZERS: dict[str, PreTokenizer] = {
    **_rows("default", r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"),
    **_rows("llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano", _llama3(), ignore_merges=True, add_bos=True),
    **_rows("dbrx smaug-bpe chatglm-bpe", _llama3()),
    **_rows("glm4 glm5", _llama3(), ignore_merges=True),
    **_rows("jais-2", _llama3(spaces=_CASCADE)),
    **_rows("minicpm5", r"\p{N}{1,3}", _llama3(r"\p{N}+"), ignore_merges=True),
    **_rows(
        "deepseek-llm",
        *(r"[\r\n]", _DEEPSEEK_LETTERS, r"\s?[!-/:-~！-／：-～‘-‟、-。]+", r"\s+\z", _CJK_WIDE, r"\p{N}+"),
        ascii=(r"\s?[A-Za-z]+", r"\s?[!-/:-~]+", r"\s+\z", r"[0-9]+"),
    ),
    **_rows("deepseek-coder", r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK_WIDE, r"\p{N}"),
    **_rows("deepseek-v3 hunyuan-dense joyai-llm hy_v4", r"\p{N}{1,3}", _CJK, _DEEPSEEK3),
    **_rows("spark2_5", r"\p{N}{1,3}", _CJK, rf"{_ASCII_WORD}| ?[\p{{P}}\p{{S}}]+|[\r\n]|\s+(?!\S)|\s+", r"\p{N}"),
    **_rows("youtu", *_YOUTU, ignore_merges=True),
    **_rows("falcon", r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, r"[0-9][0-9][0-9]"),
    **_rows("starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", r"\p{N}", _GPT2),
    **_rows("gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert jina-v1-en jina-v2-code roberta-bpe exaone4", _GPT2),
    **_rows("mpt olmo jais trillion granite-docling", _GPT2),
    **_rows("qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2", _llama3(r"\p{N}")),
    **_rows("qwen35", _llama3(r"\p{N}", r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+", r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*")),
    **_rows("laguna", _LINES, _llama3(r"\p{N}")),
    **_rows("ufakzeka", _llama3(r"\p{N}", contraction="")),
    **_rows("seed-coder", _llama3(r"\p{N}{1}", marks=r" ?[^\s\p{L}\p{N}\r\n]+")),
    **_rows(
        "exaone-moe",
        _llama3(r"\p{N}", r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+", r" ?[^\s\p{L}\p{N}]+[\r\n/]?", r"\s*[\r\n]|\s+(?!\S)|\s+"),
    ),
    **_rows(
        "bailingmoe bailingmoe2 llada-moe",
        _llama3(r"\p{N}", spaces=r"\s*[\r\n]|\s+(?!\S)|\s+", contraction="'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|"),
    ),
    **_rows("bloom gpt3-finnish poro-chat", _BLOOM),
    **_rows("viking", _BLOOM, r"\p{N}"),
    **_rows("tekken", _llama3(r"\p{N}", _cased(_NOT_UPPER, _NOT_LOWER, ""), _SLASHED, contraction=""), ignore_merges=True, add_bos=True),
    **_rows("gpt-4o llama4 kanana2 talkie minimax-m2", _GPT4O),
    **_rows(
        "granite-embed-multi-97m",
        _llama3(word=_cased(_NOT_UPPER_MARKS, _NOT_LOWER_MARKS, _CONTRACTION + "?"), marks=_SLASHED, contraction=""),
        ignore_merges=True,
    ),
    **_rows("tiny_aya cohere2moe", _THREES, _llama3(word=_ANY_CASE, marks=_SLASHED, contraction="")),
    **_rows("afmoe", _THREES, _ASIAN, _DEEPSEEK3),
    **_rows("kimi-k2", _KIMI),
    **_rows("superbpe", r"\p{N}+", r"(?=([0-9]{3})+(?![0-9]))"),
    **_rows("chameleon", *_CHAMELEON, add_bos=True),
    **_rows("gemma4 granite-embed-multi-311m", _LINES, add_bos=True, raw=True, escape=True, whole_lines=True),
    **_rows("sarvam-moe", _LINES, raw=True, escape=True),
    **_rows("whitespace", r"\S+", raw=True),
}
