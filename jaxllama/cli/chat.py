"""`jaxllama chat`: chat with a model.

Commands in the chat:
  /clear         start a new conversation with the same system prompt
  /regen         regenerate the last answer
  /system TEXT   start a new conversation with another system prompt
  /save FILE     save the messages as JSON
  /exit          quit

End a line with \\ to continue the message on the next line, or put three quotation marks before and after a message of several lines.
Ctrl-C stops the answer; at the prompt it quits.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from . import flags
from .interrupt import Interrupt
from .loading import load_model, template_variables, told_if_guessed
from .options import Group, add_options
from .run import read_prompt, unescape, write
from .sampling import constraints_of, sampling_of

if TYPE_CHECKING:
    from jaxllama import Model

_DIM, _PLAIN, _USER = "\x1b[2m", "\x1b[0m", "\x1b[1m"


def add_parser(commands: argparse._SubParsersAction) -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser("chat", help="chat with a model", description=__doc__, allow_abbrev=False, formatter_class=formatter)
    add_options(parser, flags.MODEL, flags.PROMPT, flags.CHAT, flags.CONTEXT, flags.SAMPLING, flags.GRAMMAR, flags.COMPILE)
    add_options(parser, Group("options of `jaxllama run` that chat accepts and ignores", *flags.OUTPUT))
    parser.add_argument("-st", "--single-turn", action="store_true", help="answer one message, then exit")
    parser.set_defaults(run=run)


class Conversation:
    """The messages so far, and answers to them."""

    def __init__(self, model: Model, options: dict[str, Any], system: str | None, *, colour: bool):
        from jaxllama import Kept

        self.model, self.colour = model, colour
        self.options: dict[str, Any] = options | {"kept": Kept()}
        self.messages: list[dict[str, Any]] = []
        self.system(system)

    def system(self, text: str | None) -> None:
        """Start a new conversation with another system prompt."""
        self.messages = [{"role": "system", "content": text}] if text else []

    def clear(self) -> None:
        self.messages = [m for m in self.messages if m["role"] == "system"]

    def ask(self, text: str) -> str:
        """Answer a message of the user."""
        self.messages.append({"role": "user", "content": text})
        return self.answer()

    def again(self) -> str:
        """Answer the last message once more."""
        while self.messages and self.messages[-1]["role"] == "assistant":
            self.messages.pop()
        if not self.messages or self.messages[-1]["role"] != "user":
            raise ValueError("/regen: there is no answer to regenerate")
        return self.answer()

    def answer(self) -> str:
        """Write the answer as it comes; returns a line about its speed. What Ctrl-C cuts off stays in the conversation."""
        content, thinking, note = "", False, "stopped"
        with Interrupt() as interrupt:
            try:
                for chunk in self.model.stream_chat(self.messages, **self.options):
                    choice = chunk["choices"][0]
                    delta = choice["delta"]
                    if thought := delta.get("reasoning_content"):
                        write((_DIM if self.colour and not thinking else "") + thought)
                        thinking = True
                    if text := delta.get("content"):
                        write(((_PLAIN if self.colour else "") + "\n\n" if thinking else "") + text)
                        content, thinking = content + text, False
                    if choice["finish_reason"]:
                        timings = chunk["timings"]
                        note = f"{timings['predicted_n']} tokens, {timings['predicted_per_second']:.1f} tokens per second"
                        note += (
                            "; the context is full: /clear starts a new conversation, -c sets a larger context"
                            if choice["finish_reason"] == "length" and self.options["max_tokens"] < 0
                            else ""
                        )
                    if interrupt.asked:
                        break
            except KeyboardInterrupt:
                pass
            except ValueError:
                self.messages.pop()
                raise
        write((_PLAIN if thinking and self.colour else "") + "\n")
        self.messages.append({"role": "assistant", "content": content})
        return note

    def save(self, path: str) -> None:
        Path(path).write_text(json.dumps(self.messages, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def read_message(prompt: str) -> str | None:
    """A message from the standard input, of several lines where it asks for them; None at its end."""
    lines: list[str] = []
    quoted = False
    while True:
        try:
            line = input(prompt if not lines else "")
        except EOFError:
            return "\n".join(lines) if lines else None
        if not lines and line.strip().startswith('"""'):
            quoted, line = True, line.strip()[3:]
        if quoted:
            done = line.rstrip().endswith('"""')
            lines.append(line.rstrip().removesuffix('"""') if done else line)
            if done:
                return "\n".join(lines).strip("\n")
        elif line.endswith("\\"):
            lines.append(line[:-1])
        else:
            return "\n".join([*lines, line])


def command(conversation: Conversation, text: str) -> str | None:
    """Carry out a line that begins with a slash; what to tell the user, or None to leave."""
    name, _, rest = text.partition(" ")
    if name in ("/exit", "/quit"):
        return None
    if name == "/clear":
        conversation.clear()
        return "new conversation"
    if name == "/regen":
        return conversation.again()
    if name == "/system":
        conversation.system(rest.strip() or None)
        return "new conversation, with another system prompt" if rest.strip() else "new conversation, without a system prompt"
    if name == "/save":
        if not rest.strip():
            return "/save: expected a file name"
        conversation.save(rest.strip())
        return f"conversation saved to {rest.strip()}"
    return "commands: /clear, /regen, /system TEXT, /save FILE, /exit"


def run(args: argparse.Namespace) -> int:
    """Carry the verb out; returns the exit status."""
    console = Console(stderr=True)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    sampling = sampling_of(args) | constraints_of(args)
    options = sampling | {
        "max_tokens": args.n_predict,
        "stop": [args.stop] if args.stop else [],
        "reasoning": args.reasoning,
        "reasoning_format": args.reasoning_format,
        "reasoning_budget": args.reasoning_budget,
        "reasoning_budget_message": args.reasoning_budget_message,
        "chat_template_kwargs": template_variables(args),
    }
    system = unescape(args.system) if args.system and args.escape else args.system
    model = load_model(args, console, n_ctx=args.n_ctx)
    model.chats = told_if_guessed(model.chats, console)
    conversation = Conversation(model, options, system, colour=sys.stdout.isatty())
    first = read_prompt(args) if args.prompt is not None or args.file is not None else None
    tell = lambda text: console.print(text, style="dim", highlight=False, markup=False)  # noqa: E731
    if terminal:
        tell(f"{model.name}. /help lists the commands.")
        with contextlib.suppress(ImportError):  # Windows has line editing of its own
            import readline  # noqa: F401  history and editing of lines
    while True:
        try:
            text = first if first is not None else read_message(f"{_USER}> {_PLAIN}" if terminal else "")
        except KeyboardInterrupt:
            write("\n")
            return 130
        first = None
        if text is None:
            return 0
        if not text.strip():
            continue
        try:
            note = command(conversation, text.strip()) if text.startswith("/") else conversation.ask(text)
        except (ValueError, OSError) as error:
            if args.single_turn:
                raise
            note = f"{error}"
        if note is None:
            return 0
        if terminal or text.startswith("/"):
            tell(note)
        if args.single_turn:
            return 0
