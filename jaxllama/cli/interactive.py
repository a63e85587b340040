"""Interactive mode of `jaxllama run`: the text goes on where the user has typed something, without a chat template."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .interrupt import Interrupt
from .log import Log
from .output import INPUT, PLAIN, Output
from .prompt import read_message, unescape

if TYPE_CHECKING:
    from jaxllama import Model, Piece


def interact(
    model: Model, ids: list[int], prompt: str, args: SimpleNamespace, log: Log, out: Output, interrupt: Interrupt, options: dict[str, Any]
) -> Piece | None:
    """Generate and ask in turns until the input ends; returns the last piece.

    It asks where the text has ended, where a text of `-r` has appeared, after `n_predict` tokens and at Ctrl-C. An empty line lets the model go on.
    """
    from jaxllama import Kept

    clean = unescape if args.escape else str
    stops, before, after = [clean(text) for text in args.stop], clean(args.in_prefix), clean(args.in_suffix)
    kept, ids, last, asking, shown = Kept(), list(ids), None, args.interactive_first, prompt if args.display_prompt else ""
    encode = model.tokenizer.encode
    log.info("interactive mode: Return hands over to the model, Ctrl-C interrupts it, a backslash at a line's end goes on with the next line", dim=True)
    while True:
        if asking:
            out.prompt(shown)
            shown = ""
            out.write(before, made=False)
            out.colour(INPUT)
            try:
                typed = read_message("", multiline=args.multiline_input)
            except KeyboardInterrupt:
                return last
            finally:
                out.colour(PLAIN)
            if typed is None:
                interrupt.asked = False
                return last
            if typed:
                out.write(after, made=False)
                bos = [model.tokenizer.bos] if args.in_prefix_bos and model.tokenizer.bos is not None else []
                line = clean(typed.removesuffix("/"))  # llama.cpp's sign for handing over, which is no part of the text
                ids += bos + encode(before, add_special=False, parse_special=True)
                ids += encode(line, add_special=False, parse_special=False) + encode(after, add_special=False, parse_special=True)
        interrupt.asked, text = False, ""
        try:
            for piece in model.stream(ids, kept=kept, **options):
                out.prompt(shown)
                shown = ""
                out.write(piece.text)
                last = piece
                if piece.token is not None:
                    ids.append(piece.token)
                text += piece.text
                if interrupt.asked or any(stop in text[-len(stop) - len(piece.text) :] for stop in stops):
                    break
        except KeyboardInterrupt:
            interrupt.asked = True
        if last is not None and last.reason == "context":
            return last
        if last is not None and last.reason == "end" and stops:  # as if the model had handed over with it
            out.write(stops[0], made=False)
            ids += encode(stops[0], add_special=False, parse_special=True)
        asking = True
