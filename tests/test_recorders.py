"""What recorders say when they are called without what they need."""

from __future__ import annotations

import sys

import pytest
from reference.arguments import only_argument, parser_of, peer_of


def test_a_missing_argument_is_told(capsys):
    assert only_argument("doc", "FILE", "a file", ["x"]) == "x"
    with pytest.raises(SystemExit):
        only_argument("Records.", "FILE", "a file", [])
    assert "error: the following arguments are required: FILE" in capsys.readouterr().err


def test_an_interpreter_that_is_not_there_is_told(capsys):
    parser = parser_of("Records.")
    parser.add_argument("peer", type=peer_of)
    assert parser.parse_args([sys.executable]).peer == sys.executable
    with pytest.raises(SystemExit):
        parser.parse_args(["nowhere/python"])
    assert "there is no interpreter 'nowhere/python'" in capsys.readouterr().err
