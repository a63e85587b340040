"""The object most people use: a loaded model that reads prompts and writes text. Everything it does is made of the functions of `models` and `decode`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property, partial
from time import monotonic
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np

from .answers import complete_chat, complete_chats, stream_chat
from .chat import Chat
from .decode import Grammars, Programs, Sampling, Session, Words, make_words, prefill_prompts, stream_tokens
from .decode.chain import REPORTED
from .decode.compile import compile_ahead
from .decode.shapes import bucket_for, padded_chunks
from .formats.gguf import GGUFFile
from .grammar import Grammar
from .grammar.tokens import TokenGrammar
from .grammar.trie import build_trie
from .kept import Kept
from .models import Config, ContextFull, DecodeState, Params, extend, forward, init_state
from .names import refuse_unknown, tells_nearest
from .numeric import ids_of, whole_of
from .pieces import Piece, PieceWriter, Result, result_of
from .prompt import Prompt, read_prompt, read_prompts
from .request import CONSTRAINTS, SAMPLING, grammar_for, limit_of, sampling_for, seconds_of, texts_of
from .score import Score, score_tokens
from .text import Tokenizer

_LIMITS = ("max_tokens", "max_completion_tokens")  # OpenAI's names for n_predict
_ELSEWHERE = {
    "echo": "score(prompt) gives the log-probabilities of a prompt's tokens",
    "logprobs": "n_probs=N names the N most likely tokens in each place",
    "stream": "stream(prompt, ...) streams the text",
    "messages": "chat(messages, ...) answers messages",
    "n": "chat takes n; several prompts, or the same one several times, are a list of prompts",
}
_OPTIONS = (*_LIMITS, "n_probs", "post_sampling_probs", "preserved_tokens", *CONSTRAINTS, *SAMPLING)
LogitsProcessor = Callable[[np.ndarray, np.ndarray], "np.ndarray | None"]

_jit_forward = jax.jit(forward, static_argnames=("config",), donate_argnames=("state",))


@partial(jax.jit, static_argnames=("config",), donate_argnames=("state",))
def _jit_hidden(params: Params, state: DecodeState, tokens: jax.Array, *, config: Config) -> tuple[jax.Array, DecodeState]:
    return extend(params, state, tokens, config=config, logits="none")


class Model:
    """A loaded model.

    Any number of threads may use one model, and one thread may go back and forth between streams. They take turns: a dispatch of one (a chunk of a prompt, or
    about a tenth of a second of tokens) runs to its end, then another's may come, and nobody holds anything between the pieces of a stream. What is compiled
    makes the others wait. Texts are the same as if each were alone. A single stream belongs to one thread at a time.

    Processes: a model does not survive `fork()`, since XLA's threads do not. Load models after forking, or start processes with
    `multiprocessing.get_context("spawn")`; in a forked process every call is a RuntimeError that says so.

    Attributes:
        config: sizes and options of the architecture; static under jit.
        params: the packed weights, a pytree.
        tokenizer: text to ids and back.
        file: the open GGUF file.
        n_ctx: tokens a sequence may have, prompt included.
        programs: compiled programs, with the time that compiling took.
        grammars: the grammars that generations have used, prepared.
        chats: makes prompts of messages, with the file's chat template; assign `Chat(tokenizer, file.metadata, template)` for another one.
    """

    def __init__(
        self,
        config: Config,
        params: Params,
        tokenizer: Tokenizer,
        file: GGUFFile,
        *,
        n_ctx: int,
        n_batch: int = 512,
        cache_type: str = "f16",
        chat_template: str | None = None,
    ):
        self.config, self.params, self.tokenizer, self.file = config, params, tokenizer, file
        self.n_ctx, self.n_batch, self.cache_type = n_ctx, n_batch, cache_type
        self.programs = Programs()
        self.grammars = Grammars(lambda: build_trie(self._pieces(special=True), sorted(tokenizer.end)), config.n_vocab, self.programs)
        self.chats = Chat(tokenizer, file.metadata, chat_template)

    @property
    def name(self) -> str:
        """The model's name, or the file's."""
        return str(self.file.get("general.name", self.file.path.name))

    def __repr__(self) -> str:
        return f"Model({self.name}, {self.config.architecture}, {self.config.n_layer} layers, n_ctx={self.n_ctx})"

    @cached_property
    def words(self) -> Words:
        """What sampling knows of the vocabulary."""
        return make_words(self.config.n_vocab, self.tokenizer.end)

    @cached_property
    def words_for_infill(self) -> Words:
        """The same, with the order of the tokens' texts."""
        special = self.tokenizer.vocabulary.special
        return make_words(self.config.n_vocab, self.tokenizer.end, pieces=self._pieces(special=False), fallback=special.get("eot", self.tokenizer.eos))

    def _pieces(self, *, special: bool) -> list[bytes]:
        return [self.tokenizer.piece(t, special=special) for t in range(len(self.tokenizer))]

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt. Text gets the special tokens (BOS, EOS) that the file asks for; ids are checked.
        An empty prompt becomes the BOS token.

        Raises:
            TypeError: the prompt is neither text nor a sequence of integers.
            ValueError: an id is outside the vocabulary, or the prompt is empty and the model has no BOS token.
        """
        given = read_prompt(prompt)
        ids = self.tokenizer.encode(given) if isinstance(given, str) else given
        if any(not 0 <= t < self.config.n_vocab for t in ids):
            raise ValueError(f"token ids must be from 0 to {self.config.n_vocab - 1}")
        if not ids and self.tokenizer.bos is not None:
            ids = [self.tokenizer.bos]
        if not ids:
            raise ValueError("the prompt is empty, and this model has no BOS token to start from")
        return ids

    def logits(self, tokens: Prompt) -> np.ndarray:
        """Logits f32[T, V] after every token of one prompt."""
        return self._rows(_jit_forward, tokens)

    @tells_nearest
    def embed(self, text: Prompt, *, pooling: str = "mean", normalize: bool = True) -> np.ndarray:
        """The last hidden states of a text.

        Args:
            text: text, or token ids.
            pooling: "mean" or "last" for one vector f32[D]; "none" for one of every token, f32[T, D].
            normalize: to length one.
        """
        if pooling not in ("mean", "last", "none"):
            raise ValueError(f"pooling: expected 'mean', 'last' or 'none', found {pooling!r}")
        rows = self._rows(_jit_hidden, text)
        found = rows.mean(0) if pooling == "mean" else rows[-1] if pooling == "last" else rows
        return found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-12) if normalize else found

    def _rows(self, program: Callable[..., tuple[jax.Array, DecodeState]], tokens: Prompt) -> np.ndarray:
        """What a program says of every token of one prompt."""
        return np.concatenate([np.asarray(found[0, :count]) for found, count in self._pieces_of(program, self.encode(tokens))])

    def _pieces_of(self, program: Callable[..., tuple[jax.Array, DecodeState]], ids: Sequence[int]) -> Iterator[tuple[jax.Array, int]]:
        """The same piece by piece, with padding: [1, T, ...], and how many count."""
        n_ctx = max(self.n_ctx, len(ids))  # not the prompt's length: every length would be another program
        state = init_state(self.config, 1, n_ctx=n_ctx, padding=bucket_for(n_ctx, self.n_batch), cache_type=self.cache_type)
        for padded, counts in padded_chunks([ids], self.n_batch):
            found, state = self.programs(program, self.params, state, jnp.asarray(padded), config=self.config)
            yield found, int(counts[0])

    @overload
    def score(self, prompt: str | list[int] | tuple[int, ...], *, n_probs: int = 0) -> Score: ...
    @overload
    def score(self, prompt: list[str] | tuple[str, ...] | list[list[int]], *, n_probs: int = 0) -> list[Score]: ...
    @overload
    def score(self, prompt: Any, *, n_probs: int = 0) -> Any: ...
    @tells_nearest
    def score(self, prompt: Any, *, n_probs: int = 0) -> Score | list[Score]:
        """How likely each token of a text is after those before it. Nothing is generated.

        Args:
            prompt: text or token ids, or several, as for `generate`.
            n_probs: how many of the most likely tokens to name in each place, up to all of the vocabulary.

        Returns:
            A `Score`, or a list of them for a list of prompts.
        """
        count = whole_of("n_probs", n_probs, 0, self.config.n_vocab)
        prompts, many = read_prompts(prompt)
        texts = [self.encode(p) for p in prompts]
        scores = [score_tokens(ids, self._pieces_of(_jit_forward, ids), self.programs, count) for ids in texts]
        return scores if many else scores[0]

    def stream(
        self,
        prompt: Prompt,
        *,
        n_predict: int = 128,
        stop: str | Sequence[str] = (),
        shown: Collection[int] = (),
        kept: Kept | None = None,
        begun: str | bytes = "",
        timeout: float | None = None,
        logits_processor: LogitsProcessor | None = None,
        **options: Any,
    ) -> Iterator[Piece]:
        """Generate text, token by token.

        Args:
            prompt: text, or token ids.
            n_predict: maximum number of tokens to generate; -1: until the model ends or the context is full; 0: none, the prompt is read only (into `kept`).
                `max_tokens` and `max_completion_tokens` are other names for it.
            stop: a string that stops the generation, or several; they are not part of the text.
            shown: ids of control tokens that appear in the text.
            begun: the part of the constrained text that the prompt already ends with; the grammar starts with it.
            timeout: seconds after which the generation is given up; it is looked at after every dispatch.
            logits_processor: a function of the tokens so far int[N] and the next one's logits f32[V], in numpy, that returns logits instead, or None to stop;
                called on the host before every token, so slower than a function among the `samplers`.
            kept: a prompt cache (`Kept()`), passed from call to call: if a prompt starts with the previous prompt and answer, only the rest is prefilled.
            **options: sampling parameters, under the names of llama.cpp's server and with its defaults (`temperature`, `top_k`, `top_p`, `min_p`, `seed`,
                `samplers`, `logit_bias`, ...; see `Sampling` and `jaxllama.request.sampling_for`; a function among the samplers is compiled once for
                each object: define it once); one of `grammar` (GBNF or a `Grammar`), `json_schema` (a
                dictionary or a type), `regex`, `choice` and `response_format`, with `grammar_lazy` and `grammar_triggers`; `n_probs` and
                `post_sampling_probs`; `preserved_tokens`, texts of special tokens that appear in the text.

        Options are checked at the call; the prompt is read when the first piece is asked for.

        Yields:
            Pieces whose texts concatenate to the continuation; the last one has a reason and timings.

        Raises:
            ContextFull: the prompt does not fit `n_ctx`.
            LogitsError: the model's logits are not numbers: its file is damaged.
            GrammarError, SchemaError: what constrains the text is malformed.
            TimeoutError: the time is over.
            TypeError: the prompt is neither text nor token ids, or there is no such option.
        """
        more = {"kept": kept, "timeout": timeout, "logits_processor": logits_processor}
        made = self.stream_batch([prompt], n_predict=n_predict, stop=stop, shown=shown, begun=[begun], **more, **options)
        return (piece for _, piece in made)

    @overload
    def generate(self, prompt: str | list[int] | tuple[int, ...], *, n_predict: int = 128, stop: str | Sequence[str] = (), **options: Any) -> Result: ...
    @overload
    def generate(
        self, prompt: list[str] | tuple[str, ...] | list[list[int]], *, n_predict: int = 128, stop: str | Sequence[str] = (), **options: Any
    ) -> list[Result]: ...
    @overload
    def generate(self, prompt: Any, *, n_predict: int = 128, stop: str | Sequence[str] = (), **options: Any) -> Any: ...
    def generate(self, prompt: Any, *, n_predict: int = 128, stop: str | Sequence[str] = (), **options: Any) -> Result | list[Result]:
        """Generate the whole text for a prompt, or for several prompts as one batch.

        Args:
            prompt: text or token ids; or a list (or tuple) of prompts, which are decoded as one batch. An array of integers is one prompt, or with two
                axes a batch of them. An empty list is an empty batch.
            n_predict, stop, **options: as for `stream`; a sampling parameter, and `grammar`, may be a list with a value for each prompt.

        Returns:
            A `Result`, or a list of them for a list of prompts.
        """
        prompts, many = read_prompts(prompt)
        if not prompts:
            return []
        pieces: list[list[Piece]] = [[] for _ in prompts]
        for slot, piece in self.stream_batch(prompts, n_predict=n_predict, stop=stop, **options):
            pieces[slot].append(piece)
        results = [result_of(p) for p in pieces]
        return results if many else results[0]

    @overload
    def chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> dict[str, Any]: ...
    @overload
    def chat(self, messages: Sequence[Sequence[Mapping[str, Any]]], **options: Any) -> list[dict[str, Any]]: ...
    def chat(self, messages: Any, **options: Any) -> dict[str, Any] | list[dict[str, Any]]:
        """Answer chat messages; returns a dictionary in the shape of OpenAI's `chat.completion`.

        Args:
            messages: dictionaries with role and content; or a list of conversations, which are answered as one batch.
            **options: as for `stream_chat`.

        Returns:
            One dictionary, or a list of them for a list of conversations.
        """
        if isinstance(messages, (list, tuple)) and messages and isinstance(messages[0], (list, tuple)):
            return complete_chats(self, messages, **options)
        return complete_chat(self, messages, **options)

    def stream_chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Iterator[dict[str, Any]]:
        """Answer chat messages, streaming.

        Args:
            messages: dictionaries with role and content, as OpenAI has them.
            **options: `max_tokens` (also `max_completion_tokens`, `n_predict`; -1: no limit), `stop`; `n` answers to choose from; `logprobs` and
                `top_logprobs` (0 to 32); `model`, the name that the answer bears; `user`, which means nothing here; `tools`, `tool_choice`,
                `parallel_tool_calls` as OpenAI has them (the grammar that they imply holds for the answer); `reasoning` ("on", "off", "auto"),
                `reasoning_budget` in tokens (-1: no limit) and `reasoning_budget_message`, inserted when it is used up; `reasoning_format` ("auto", "deepseek",
                "deepseek-legacy", "none"); `add_generation_prompt`, `continue_final_message`, `chat_template_kwargs`; and sampling parameters and
                constraints as for `stream`.

        Yields:
            Dictionaries in the shape of OpenAI's `chat.completion.chunk`; the last one has the finish reason, the usage and timings.

        Raises:
            MessageError: something is malformed; the text says which message and which field.
            TemplateError: the template is wrong, or refuses the messages.
            ContextFull: the prompt does not fit `n_ctx`.
            LogitsError: the model's logits are not numbers: its file is damaged.
        """
        return stream_chat(self, messages, **options)

    def sampling(self, slots: int = 1, **options: Any) -> Sampling:
        """Sampling parameters for a number of slots; see `jaxllama.request.sampling_for`."""
        return sampling_for(self.tokenizer, self.file.metadata, slots, **options)

    def grammar(self, **constraints: Any) -> Grammar | None:
        """The grammar of a request; see `jaxllama.request.grammar_for`."""
        return grammar_for(self.tokenizer, **constraints)

    def follow(self, grammar: Grammar) -> TokenGrammar:
        """A grammar over this model's tokens, for looking at: `start`, `mask(place)`, `advance(place, token)` are functions of values."""
        if not isinstance(grammar, Grammar):
            raise TypeError(f"expected a Grammar, found {grammar!r}")
        return TokenGrammar(grammar, self.grammars.trie)

    def compile(self, *, slots: int = 1, prompt: int | None = None, **options: Any) -> None:
        """Compile ahead what requests will need, which they would otherwise wait for.

        Args:
            slots: how many prompts come at a time.
            prompt: tokens of the longest prompt; as many as the context holds by default.
            **options: sampling parameters that are part of a program: `samplers`, and `logit_bias` of more than 32 tokens. What grammars need is compiled
                when one comes.
        """
        for name, number in (("slots", slots), ("prompt", 1 if prompt is None else prompt)):
            whole_of(name, number, 1)
        refuse_unknown("compile", options, ["slots", "prompt", *SAMPLING])
        sampling = self.sampling(slots, **options)
        words = self.words_for_infill if "infill" in sampling.chain else self.words
        sizes = {"n_ctx": self.n_ctx, "n_batch": self.n_batch, "cache_type": self.cache_type}
        length = min(prompt or self.n_ctx, self.n_ctx)
        compile_ahead(self.params, sampling, words=words, slots=slots, prompt=length, config=self.config, programs=self.programs, **sizes)

    @tells_nearest
    def prefill(self, prompts: Prompt | Sequence[Prompt], *, kept: Session | None = None) -> Session:
        """Prefill prompts, one per slot; the session has the state and the logits after each prompt.

        Args:
            prompts: a batch of them, or one alone.
            kept: a session of one slot of this model, whose tokens need not be read again where the only prompt begins with them; it is used up.

        Raises:
            ContextFull: a prompt does not fit `n_ctx`.
            ValueError: `kept` is another model's, is used up, comes with several prompts, or has several slots or another context than the model.
        """
        if not isinstance(kept, Session | None):
            raise TypeError(f"kept: expected a session, which prefill returns, found {kept!r}")
        ids = [self.encode(p) for p in read_prompts(prompts)[0]]
        if not ids:
            raise ValueError("there is no prompt to read")
        return self._prefill(ids, kept)

    def continuable(self, session: Session | None) -> Session | None:
        """The session if this model can continue it: it is the model's own, and of the same context and type of cache. Else None."""
        own = session is not None and session.is_of(self.programs) and session.has(n_ctx=self.n_ctx, cache_type=self.cache_type)
        return session if own else None

    def _prefill(self, ids: Sequence[Sequence[int]], kept: Session | None) -> Session:
        sizes = {"n_ctx": self.n_ctx, "n_batch": self.n_batch, "cache_type": self.cache_type}
        return prefill_prompts(self.params, ids, config=self.config, programs=self.programs, kept=kept, **sizes)

    def stream_batch(
        self,
        prompts: Sequence[Prompt],
        *,
        n_predict: int = 128,
        stop: str | Sequence[str] = (),
        shown: Collection[int] = (),
        kept: Kept | None = None,
        begun: Sequence[str | bytes] | None = None,
        timeout: float | None = None,
        logits_processor: LogitsProcessor | None = None,
        **options: Any,
    ) -> Iterator[tuple[int, Piece]]:
        """Generate texts for several prompts as one batch, token by token.

        Args:
            begun: for each prompt.
            n_predict, stop, shown, kept, timeout, logits_processor, **options: as for `stream`; a sampling parameter, and `grammar`, may be a list with a value
                for each prompt. `kept` goes with one prompt.

        Yields:
            The number of a prompt, and a piece of its text.
        """
        rest = dict(options)
        refuse_unknown("generating", rest, [*_OPTIONS, "n_predict", "stop", "shown", "kept", "begun", "timeout", "logits_processor"], _ELSEWHERE)
        n_predict, seconds = limit_of(rest, n_predict, _LIMITS), seconds_of(timeout)
        if not isinstance(kept, Kept | None):
            raise TypeError(f"kept: expected jaxllama.Kept(), the same object for every turn, found {kept!r}")
        if logits_processor is not None and not callable(logits_processor):
            raise TypeError(f"logits_processor: expected a function of the tokens so far and the next one's logits, found {logits_processor!r}")
        ids = [self.encode(p) for p in prompts]
        n_probs, after = whole_of("n_probs", rest.pop("n_probs", 0), 0, REPORTED), rest.pop("post_sampling_probs", False)
        preserved = texts_of("preserved_tokens", rest.pop("preserved_tokens", None))
        stops = texts_of("stop", stop)
        constraints = {name: rest.pop(name) for name in CONSTRAINTS if name in rest}
        sampling = self.sampling(len(prompts), **rest)
        given = constraints.pop("grammar", None)
        each = given if isinstance(given, (list, tuple)) else [given] * len(prompts)
        if len(each) != len(prompts):
            raise ValueError(f"grammar has {len(each)} values, expected one or {len(prompts)}")
        wanted = [self.grammar(grammar=g, **constraints) for g in each]
        starts, visible = _begun(begun, len(prompts)), _shown(shown, self.config.n_vocab)
        visible = visible.union(*(self.tokenizer.encode(text, add_special=False, parse_special=True) for text in preserved))
        writers = [PieceWriter(self.tokenizer, stops, visible, n_probs) for _ in prompts]
        report = ("after" if after else "before") if n_probs else ""
        adjust = None if logits_processor is None else lambda _, tokens, logits: logits_processor(np.asarray(tokens, np.intc), logits)
        return self._decode(ids, sampling, wanted, starts, writers, n_predict=n_predict, kept=kept, seconds=seconds, report=report, adjust=adjust)

    def _decode(
        self,
        ids: Sequence[Sequence[int]],
        sampling: Sampling,
        wanted: Sequence[Grammar | None],
        starts: Sequence[bytes],
        writers: Sequence[PieceWriter],
        *,
        n_predict: int,
        kept: Kept | None,
        seconds: float,
        report: str,
        adjust: Any,
    ) -> Iterator[tuple[int, Piece]]:
        """What `stream_batch` yields; everything was checked, and nothing is done before the first piece is asked for."""
        deadline = monotonic() + seconds
        running = self.grammars.start(wanted, starts) if any(g is not None for g in wanted) else None
        with self.programs.turn():  # of two that ask at the same time, one gets it
            before = None if kept is None else kept.take()
        try:
            session = self._prefill(ids, self.continuable(before))
        except ContextFull:
            if kept is not None:
                kept.session = before  # nothing was read
            raise
        if n_predict == 0:
            if kept is not None:
                kept.session = session
            yield from ((slot, Piece("", reason="limit", timings=session.timings)) for slot in range(len(ids)))
            return
        limits = [min(n_predict, 2**31 - 1) if n_predict > 0 else 2**31 - 1] * len(ids)
        words = self.words_for_infill if "infill" in sampling.chain else self.words
        ended: set[int] = set()
        made = stream_tokens(
            self.params,
            session,
            sampling,
            words=words,
            limits=limits,
            config=self.config,
            programs=self.programs,
            grammars=running,
            report=report,
            ended=ended,
            adjust=adjust,
        )
        try:
            for step in made:
                if monotonic() > deadline:
                    raise TimeoutError(f"the generation is not done after {seconds:g} seconds")
                for slot, writer in enumerate(writers):
                    for piece in writer.take(step, slot, session.timings):
                        yield slot, piece
                    if writer.finished:  # by a stop string perhaps, of which the device knows nothing
                        ended.add(slot)
        except (GeneratorExit, TimeoutError):  # nobody wants more; the session is whole. After anything else it may not be
            if kept is not None:
                kept.session = session
            raise
        if kept is not None:
            kept.session = session


def _begun(given: Any, count: int) -> list[bytes]:
    """For each prompt the beginning of its text."""
    each = [b""] * count if given is None else given
    if not isinstance(each, (list, tuple)) or len(each) != count or not all(isinstance(one, (str, bytes)) for one in each):
        raise TypeError(f"begun: expected the part of the text that the prompt ends with (for a batch, of each prompt), found {given!r}")
    return [one.encode() if isinstance(one, str) else one for one in each]


def _shown(given: Any, n_vocab: int) -> frozenset[int]:
    ids = ids_of(given, "shown: expected the ids of special tokens that appear in the text")
    if outside := [token for token in ids if not 0 <= token < n_vocab]:
        raise ValueError(f"shown: there is no token {outside[0]}; ids are from 0 to {n_vocab - 1}")
    return frozenset(ids)
