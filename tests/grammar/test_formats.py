"""Formats of strings: what a grammar writes is valid for validators that know nothing of it, and what the standards give as examples is taken."""

from __future__ import annotations

import datetime
import ipaddress
import json
import random
import re
import uuid
from email.headerregistry import Address
from urllib.parse import urlsplit

import pytest

from jaxllama.grammar import Grammar
from jaxllama.grammar.automaton import Automaton
from jaxllama.grammar.string_formats import FORMATS
from jaxllama.grammar.walk import advanced, may_end, start_of


def written(automaton: Automaton, draw: random.Random, longest: int = 60) -> str | None:
    """A random text of a grammar, each character as likely as the others; None where none ended."""
    text = b""
    place = start_of(automaton)
    while len(text) < longest:
        following = [(b, p) for b in range(32, 127) if (p := advanced(automaton.states, place, bytes([b]))) is not None]
        ends = [(b, p) for b, p in following if b == ord('"')]
        if not following:
            break
        byte, place = draw.choice(ends if ends and len(text) > 8 and draw.random() < 0.3 else following)
        text += bytes([byte])
    return text.decode() if may_end(automaton.states, place) else None


def moment(text: str) -> None:
    datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))


def host(text: str) -> bool:
    return len(text) <= 253 and all(
        1 <= len(part) <= 63 and part.isascii() and part.strip("-") == part and part.replace("-", "").isalnum() for part in text.split(".")
    )


def email(text: str) -> bool:
    name, _, domain = text.rpartition("@")
    return Address(addr_spec=text).username == name and len(name) <= 64 and host(domain)


def uri(text: str, *, whole: bool = True) -> bool:
    """Parts as the standard library sees them, of the characters that RFC 3986 names."""
    parts = urlsplit(text)
    if parts.netloc.endswith("]"):
        ipaddress.IPv6Address(parts.hostname)
    assert parts.port is None or 0 <= parts.port <= 9999
    assert parts.geturl().rstrip("?#/").lower() == text.rstrip("?#/").lower() or text.startswith("//") or "//" in text
    good = re.fullmatch(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*", text) and not re.search("%(?![0-9A-Fa-f]{2})", text) and text.count("#") <= 1
    return bool(good) and (not whole or (parts.scheme != "" and parts.scheme[0].isalpha()))


def duration(text: str) -> bool:
    number = r"\d+"
    found = re.fullmatch(rf"P(?:{number}W|(?=.)({number}Y)?({number}M)?({number}D)?(?:T(?=.)({number}H)?({number}M)?({number}S)?)?)", text)
    if not found or text.endswith("W"):
        return bool(found)
    years, months, days, hours, minutes, seconds = (part is not None for part in found.groups())
    return not (years and days and not months) and not (hours and seconds and not minutes)  # none left out in the middle


def pointer(text: str) -> bool:
    return (text == "" or text.startswith("/")) and not re.search("~(?![01])", text)


VALID = {
    "date": datetime.date.fromisoformat,
    "time": lambda text: moment(f"2000-01-01T{text}"),
    "date-time": moment,
    "duration": duration,
    "uuid": uuid.UUID,
    **{f"uuid{n}": lambda text, n=n: uuid.UUID(text).version == n for n in range(1, 6)},
    "email": email,
    "hostname": host,
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "uri": uri,
    "uri-reference": lambda text: uri(text, whole=False),
    "json-pointer": pointer,
    "relative-json-pointer": lambda text: bool(found := re.match(r"0|[1-9]\d*", text)) and (text[found.end() :] == "#" or pointer(text[found.end() :])),
    "regex": re.compile,
}


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_valid(name):
    automaton, draw, count = Automaton(Grammar.from_json_schema({"type": "string", "format": name}).rules), random.Random(name), 0
    for _ in range(16):
        text = written(automaton, draw)
        if text is not None:
            count += 1
            assert VALID[name](json.loads(text)) is not False, text
    assert count >= 4


EXAMPLES = {
    "date": ("2020-02-29 2000-02-29 1999-12-31 1900-01-01 0001-01-01", "2019-02-29 1900-02-29 2020-13-01 2020-04-31 20-01-01 0000-01-01"),
    "time": ("00:00:00Z 23:59:59.123456789+14:00 12:00:00-00:30", "24:00:00Z 12:00:00 12:60:00Z 12:00:00+24:00"),
    "date-time": ("1985-04-12T23:20:50.52Z 1996-12-19T16:39:57-08:00 1990-12-31T15:59:00Z", "1985-04-12 1985-04-31T23:20:50Z"),
    "duration": ("P3Y6M4DT12H30M5S P1W PT36H P1DT12H PT0S P1M PT1M", "P P1Y2D PT P1S T1H P1WT1H PT1H1S"),
    "email": ("a@b.c first.last+tag@sub.example.co.uk !#$%&'*+/=?^_`{|}~@x.y joe@localhost", "a@ @b.c a..b@c.d a.@b.c a@-b.c a@b_c.d"),
    "hostname": (f"localhost www.example.com a-b.c 1.2 {'a' * 63}.{'b' * 63}", f"-a a- a..b a. {'a' * 64} a_b"),
    "ipv4": ("0.0.0.0 255.255.255.255 192.168.1.10", "256.1.1.1 1.2.3 01.2.3.4 1.2.3.4.5"),
    "ipv6": (
        "2001:db8::1 :: ::1 1:: fe80::1:2 1:2:3:4:5:6:7:8 ::ffff:192.0.2.1 1::8 1:2:3:4:5:6:1.2.3.4 1:2:3:4:5:6:7::",
        "1::2::3 1:2:3:4:5:6:7 :1 1: 12345::1 1:2:3:4:5:6:7:8:9 ::1.2.3",
    ),
    "uri": (
        "https://x.y/z?q=1 http://localhost:8080/a mailto:a@b.c urn:isbn:0451450523 ftp://ftp.is.co.za/rfc/rfc1808.txt http://[2001:db8::7]/c?d#e "
        "tel:+1-816-555-1212 ldap://[2001:db8::7]/c=GB?objectClass?one file:///etc/hosts http://u:p@h/%20 news:comp.lang",
        "#f /a //a.b/c a 1a:b http://a[b http://a/%2 http://a/<> http://a:b/",
    ),
    "uri-reference": ("#f /a //a.b/c a a/b:c ?q . ../x http://a/b?c#d x;y=1 a:b", "http://a/%2 <a> #a#b [a]"),
    "json-pointer": ("/ /a/b /a~1b/m~0n /0 /%", "a ~ /~2 /a~"),
    "relative-json-pointer": ("0 1/a 10# 0/a~1", "01 #a /a 1a 1##"),
    "uuid4": ("f81d4fae-7dec-41d0-a765-00a0c91e6bf6", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_the_standards_show(name):
    grammar = Grammar.from_json_schema({"type": "string", "format": name})
    for texts, fits in zip(EXAMPLES[name], (True, False), strict=True):
        for text in texts.split(" "):
            assert grammar.accepts(json.dumps(text)) == fits, text
