"""`jaxllama apply-template`: print the prompt that the chat template makes of messages and tools."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from . import flags
from .loading import chat_template, open_model, template_variables, told_if_guessed
from .options import add_options


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("apply-template", help="print the prompt that the chat template makes of messages", description=__doc__, allow_abbrev=False)
    add_options(parser, flags.MODEL, flags.CHAT)
    parser.add_argument("messages", nargs="?", help="JSON file with a list of messages, or an object with messages, tools and tool_choice; - for stdin")
    parser.add_argument("-p", "--prompt", metavar="PROMPT", help="a single user message, instead of a file")
    parser.add_argument("--no-generation-prompt", action="store_true", help="do not add the start of the assistant's answer")
    parser.add_argument(
        "--continue", dest="continued", action="store_true", help="leave the last message, an assistant's, open, so that the model continues it"
    )
    parser.add_argument("--ids", action="store_true", help="print token ids instead of text")
    parser.add_argument("--syntax", action="store_true", help="also print the markers of reasoning and tool calls that answers are parsed by, as JSON")
    parser.add_argument("--grammar", action="store_true", help="also print the GBNF grammar that tools and tool_choice imply")
    parser.set_defaults(run=run)


def _request(args: argparse.Namespace) -> dict[str, Any]:
    if (args.prompt is None) == (args.messages is None):
        raise ValueError("apply-template: expected a JSON file of messages or -p PROMPT, one of the two")
    if args.prompt is not None:
        found: Any = [{"role": "user", "content": args.prompt}]
    else:
        text = sys.stdin.read() if args.messages == "-" else Path(args.messages).read_text(encoding="utf-8")
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{args.messages}: expected JSON: {error}") from None
    request = found if isinstance(found, dict) else {"messages": found}
    if args.system:
        request["messages"] = [{"role": "system", "content": args.system}, *request.get("messages", [])]
    return request


def run(args: argparse.Namespace) -> int:
    """Carry the verb out; returns the exit status."""
    from dataclasses import asdict

    from jaxllama.chat import Chat
    from jaxllama.text import Tokenizer

    request = _request(args)
    console = Console(stderr=True)
    file = open_model(args, console)
    tokenizer = Tokenizer.from_metadata(file.metadata, str(file.path))
    chat = told_if_guessed(Chat(tokenizer, file.metadata, chat_template(args)), console)
    prompt = chat.prompt(
        request.get("messages", []),
        tools=request.get("tools"),
        tool_choice=request.get("tool_choice"),
        reasoning=args.reasoning,
        add_generation_prompt=not args.no_generation_prompt,
        continue_final_message=args.continued,
        chat_template_kwargs=template_variables(args) | request.get("chat_template_kwargs", {}),
    )
    if args.ids:
        print("[" + ", ".join(map(str, prompt.ids)) + "]")
    else:
        sys.stdout.write(prompt.text + "\n")
    if args.syntax:
        print(json.dumps(asdict(prompt.syntax), ensure_ascii=False, indent=2))
    if args.grammar:
        grammar = prompt.grammar()
        print(grammar.text if grammar else "(no grammar: the answer is unconstrained)")
    return 0
