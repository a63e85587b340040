"""`jaxllama apply-template`: print the prompt that the chat template makes of messages and tools."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .loading import chat_template, open_model, template_variables, told_if_guessed
from .log import Log
from .options import CHAT, COMMON, LOG, MODEL, Group, Option, Verb
from .options.kinds import text
from .options.text import ESCAPE
from .prompt import system_prompt, unescape

PROMPT = Group(
    "prompt",
    Option(("-p", "--prompt"), "prompt", "a single user message, instead of a file", text("PROMPT")),
    ESCAPE,
    Option(("--no-generation-prompt",), "no_generation_prompt", "do not add the start of the assistant's answer"),
    Option(("--continue",), "continued", "leave the last message, an assistant's, open, so that the model continues it"),
    Option(("--ids",), "ids", "print token ids instead of text"),
    Option(("--syntax",), "syntax", "also print the markers of reasoning and tool calls that answers are parsed by, as JSON"),
    Option(("--grammar",), "grammar", "also print the GBNF grammar that tools and tool_choice imply"),
)


def _request(args: SimpleNamespace) -> dict[str, Any]:
    if (args.prompt is None) == (not args.words):
        raise ValueError("apply-template: expected a JSON file of messages or -p PROMPT, one of the two")
    if args.prompt is not None:
        found: Any = [{"role": "user", "content": unescape(args.prompt) if args.escape else args.prompt}]
    else:
        name = args.words[0]
        source = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        try:
            found = json.loads(source)
        except json.JSONDecodeError as error:
            raise ValueError(f"{name}: expected JSON: {error}") from None
    request = found if isinstance(found, dict) else {"messages": found}
    if system := system_prompt(args):
        request["messages"] = [{"role": "system", "content": system}, *request.get("messages", [])]
    return request


def run(args: SimpleNamespace, log: Log) -> int:
    """Carry the verb out; returns the exit status."""
    from dataclasses import asdict

    from jaxllama.chat import Chat
    from jaxllama.text import Tokenizer

    request = _request(args)
    file = open_model(args, log)
    tokenizer = Tokenizer.from_metadata(file.metadata, str(file.path))
    chat = told_if_guessed(Chat(tokenizer, file.metadata, chat_template(args)), log)
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


EPILOG = "MESSAGES: a JSON file with a list of messages, or an object with messages, tools and tool_choice; - for stdin"
VERB = Verb(
    "apply-template",
    "print the prompt that the chat template makes of messages",
    __doc__,
    run,
    (PROMPT, MODEL, CHAT, LOG),
    COMMON,
    words="[MESSAGES]",
    most=1,
    epilog=EPILOG,
)
