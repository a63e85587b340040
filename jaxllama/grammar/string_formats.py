"""JSON schema's formats of strings, as regular expressions of texts that are surely valid; not of all of them."""

from __future__ import annotations

_LONG = "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
_SHORT = "(0[469]|11)-(0[1-9]|[12][0-9]|30)"
_FEBRUARY = "02-(0[1-9]|1[0-9]|2[0-8])"
_DATE = f"[0-9]{{3}}[1-9]-({_LONG}|{_SHORT}|{_FEBRUARY})"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_HEX = "[0-9a-fA-F]"
_LABEL = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?"
_HOST = rf"{_LABEL}(\.{_LABEL}){{0,4}}"
_DOMAIN = rf"({_LABEL}\.){{1,4}}[a-zA-Z]{{2,12}}"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_PATH = r"(/[a-zA-Z0-9._~-]{0,40}){0,8}"

FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": r"P([1-9][0-9]{0,3}D|[1-9][0-9]{0,3}W|T[1-9][0-9]{0,3}[HMS])",
    "uuid": f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}",
    **{f"uuid{n}": f"{_HEX}{{8}}-{_HEX}{{4}}-{n}{_HEX}{{3}}-[89abAB]{_HEX}{{3}}-{_HEX}{{12}}" for n in range(1, 6)},
    "email": rf"[a-zA-Z0-9_+-]+(\.[a-zA-Z0-9_+-]+){{0,3}}@{_DOMAIN}",
    "hostname": _HOST,
    "ipv4": rf"({_BYTE}\.){{3}}{_BYTE}",
    "ipv6": f"({_HEX}{{1,4}}:){{7}}{_HEX}{{1,4}}",
    "uri": rf"https?://{_DOMAIN}(:[1-9][0-9]{{1,3}})?{_PATH}",
    "uri-reference": r"(/[a-zA-Z0-9._~-]{1,40}){1,8}",
    "json-pointer": r"(/[a-zA-Z0-9._-]{0,40}){0,8}",
    "regex": r"[a-zA-Z0-9 _-]{0,40}",
}
