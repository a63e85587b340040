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

import contextlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .interrupt import Interrupt
from .loading import load_model, start, template_variables, told_if_guessed
from .log import Log
from .options import GENERATE, Verb
from .output import DIM, INPUT, PLAIN, Output
from .prompt import given_prompt, read_message, read_prompt, system_prompt, unescape
from .sampling import constraints_of, sampling_of

if TYPE_CHECKING:
    from jaxllama import Model


class Conversation:
    """The messages so far, and answers to them."""

    def __init__(self, model: Model, options: dict[str, Any], system: str | None, out: Output):
        from jaxllama import Kept

        self.model, self.out = model, out
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
                        self.out.colour(DIM)
                        self.out.write(thought)
                        thinking = True
                    if text := delta.get("content"):
                        self.out.colour(PLAIN)
                        self.out.write(("\n\n" if thinking else "") + text)
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
        self.out.colour(PLAIN)
        self.out.write("\n")
        self.messages.append({"role": "assistant", "content": content})
        return note

    def save(self, path: str) -> None:
        Path(path).write_text(json.dumps(self.messages, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


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


def run(args: SimpleNamespace, log: Log) -> int:
    """Carry the verb out; returns the exit status."""
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and not args.simple_io
    start(args)
    options = sampling_of(args) | constraints_of(args)
    options |= {
        "max_tokens": max(args.n_predict, -1),
        "stop": [unescape(text) if args.escape else text for text in args.stop],
        "reasoning": args.reasoning,
        "reasoning_format": "none" if args.skip_chat_parsing else args.reasoning_format,
        "reasoning_budget": args.reasoning_budget,
        "reasoning_budget_message": args.reasoning_budget_message,
        "chat_template_kwargs": template_variables(args),
    }
    system, first = system_prompt(args), read_prompt(args) if given_prompt(args) is not None else None
    model = load_model(args, log, n_ctx=args.n_ctx)
    if without := [
        name for name, given in (("--in-prefix", args.in_prefix), ("--in-suffix", args.in_suffix), ("--in-prefix-bos", args.in_prefix_bos)) if given
    ]:
        log.info(f"{', '.join(without)}: no effect; in a conversation the chat template writes what is around a message", dim=True)
    if args.special:
        log.info("--special: no effect; in a conversation the chat template says which special tokens are shown", dim=True)
    if not args.jinja:
        log.info("--no-jinja: no effect; chat templates are always rendered with Jinja", dim=True)
    model.chats = told_if_guessed(model.chats, log)
    with Output(args, log) as out:
        return _converse(Conversation(model, options, system, out), first, args, log, terminal=terminal)


def _converse(conversation: Conversation, first: str | None, args: SimpleNamespace, log: Log, *, terminal: bool) -> int:
    """Read messages and answer them until there are no more; `first`: the first of them."""
    out = conversation.out
    if terminal:
        log.info(f"{conversation.model.name}. /help lists the commands.", dim=True)
        with contextlib.suppress(ImportError):  # Windows has line editing of its own
            import readline  # noqa: F401  history and editing of lines
    while True:
        out.colour(INPUT if terminal else PLAIN)
        try:
            text = first if first is not None else read_message("> " if terminal else "", multiline=args.multiline_input)
        except KeyboardInterrupt:
            out.write("\n", made=False)
            return 130
        finally:
            out.colour(PLAIN)
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
        if text.startswith("/") or (terminal and args.show_timings):
            log.info(note, dim=True)
        if args.single_turn:
            return 0


VERB = Verb("chat", "chat with a model", __doc__, run, GENERATE)
