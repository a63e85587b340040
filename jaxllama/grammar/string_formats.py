"""JSON schema's formats of strings, as regular expressions: of all valid texts but leap seconds, quoted names in addresses and what is very long."""

from __future__ import annotations

_YEAR = "([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_LEAP = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)"
_DAYS = "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
_DATE = f"({_YEAR}-{_DAYS}|{_LEAP}-02-29)"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"

_N = "[0-9]{1,6}"
_CLOCK = f"T({_N}H({_N}M({_N}S)?)?|{_N}M({_N}S)?|{_N}S)"
_CALENDAR = f"({_N}Y({_N}M({_N}D)?)?|{_N}M({_N}D)?|{_N}D)"

_HEX = "[0-9a-fA-F]"
_LABEL = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_SHORT = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,29}[a-zA-Z0-9])?"
_HOST = rf"({_LABEL}(\.{_LABEL}){{0,2}}|{_SHORT}(\.{_SHORT}){{3,6}})"  # at most 253 characters
_ATOM = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]"

_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"({_BYTE}\.){{3}}{_BYTE}"
_H16 = f"{_HEX}{{1,4}}"
_LAST = f"({_H16}:{_H16}|{_IPV4})"
_IPV6 = "(" + "|".join(
    [
        f"({_H16}:){{6}}{_LAST}",
        f"::({_H16}:){{5}}{_LAST}",
        *(f"(({_H16}:){{0,{n}}}{_H16})?::({_H16}:){{{4 - n}}}{_LAST}" for n in range(5)),
        f"(({_H16}:){{0,5}}{_H16})?::{_H16}",
        f"(({_H16}:){{0,6}}{_H16})?::",
    ]
) + ")"  # fmt: skip

# RFC 3986
_PERCENT = f"%{_HEX}{{2}}"
_PLAIN = r"a-zA-Z0-9._~!$&'()*+,;=\-"
_CHAR = f"([{_PLAIN}:@]|{_PERCENT})"
_AUTHORITY = rf"(([{_PLAIN}:]|{_PERCENT})*@)?(\[{_IPV6}\]|([{_PLAIN}]|{_PERCENT})*)(:[0-9]{{1,4}})?"
_LONG = f"(/{_CHAR}*)*"
_ROOTED = f"/({_CHAR}+{_LONG})?"
_REST = rf"(\?({_CHAR}|[/?])*)?(#({_CHAR}|[/?])*)?"
_URI = f"[a-zA-Z][a-zA-Z0-9+.-]*:(//{_AUTHORITY}{_LONG}|{_ROOTED}|{_CHAR}+{_LONG}|){_REST}"
_RELATIVE = f"(//{_AUTHORITY}{_LONG}|{_ROOTED}|([{_PLAIN}@]|{_PERCENT})+{_LONG}|){_REST}"

_POINTER = "(/([^/~]|~[01])*)*"

FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": f"P({_N}W|{_CALENDAR}({_CLOCK})?|{_CLOCK})",
    "uuid": f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}",
    **{f"uuid{n}": f"{_HEX}{{8}}-{_HEX}{{4}}-{n}{_HEX}{{3}}-[89abAB]{_HEX}{{3}}-{_HEX}{{12}}" for n in range(1, 6)},
    "email": rf"({_ATOM}{{1,64}}|{_ATOM}{{1,15}}(\.{_ATOM}{{1,15}}){{1,3}})@{_HOST}",
    "hostname": _HOST,
    "ipv4": _IPV4,
    "ipv6": _IPV6,
    "uri": _URI,
    "uri-reference": f"({_URI}|{_RELATIVE})",
    "json-pointer": _POINTER,
    "relative-json-pointer": f"(0|[1-9][0-9]{{0,3}})(#|{_POINTER})",
    "regex": "[a-zA-Z0-9 _-]{0,40}",
}
