"""What is asked of llama-cpp-python's class and of ours, for the same answers. Takes either module: runs with llama-cpp-python alone."""

from typing import Any

PROMPT = "Once upon a time"
COLD = {"temperature": 0}


def answers(llama_cpp: Any, path: Any) -> dict[str, Any]:
    """Completions, their log-probabilities, tokens and embeddings of a model."""
    llama = llama_cpp.Llama(path, n_ctx=128, logits_all=True, verbose=False)
    text = PROMPT.encode()
    found = {
        "plain": llama(PROMPT, max_tokens=8, **COLD),
        "logprobs": llama(PROMPT, max_tokens=6, logprobs=3, **COLD),
        "echo": llama(PROMPT, max_tokens=4, logprobs=2, echo=True, **COLD),
        "stream": list(llama(PROMPT, max_tokens=5, stream=True, **COLD)),
        "stream_lp": list(llama(PROMPT, max_tokens=3, stream=True, logprobs=2, **COLD)),
        "stop": llama(PROMPT, max_tokens=20, stop=["there"], **COLD),
        "ids": llama([1, 403, 407], max_tokens=4, **COLD),
        "tokens": [llama.tokenize(text), llama.tokenize(text, add_bos=False), llama.tokenize(b"<s>a", special=True), llama.tokenize(b"")],
    }
    pieces = [llama.tokenize(text), llama.tokenize(b" a", add_bos=False)]
    found["detok"] = [llama.detokenize(ids).decode() for ids in pieces]
    found["detok"] += [llama.detokenize([1, 403], special=True).decode(), llama.detokenize([403], prev_tokens=[1]).decode(), llama.detokenize([403]).decode()]
    llama.reset()
    llama.eval(llama.tokenize(text))
    row = llama.scores[llama.n_tokens - 1][:5].tolist()
    found["eval"] = {"n": llama.n_tokens, "tokens": list(llama.eval_tokens), "logits0": row, "shape": list(llama.scores.shape)}
    found["eval"] |= {"el": len(llama.eval_logits), "sample": llama.sample(temp=0)}
    chat = llama.create_chat_completion([{"role": "user", "content": "Hi"}], max_tokens=5, **COLD)
    chunk = next(llama.create_chat_completion([{"role": "user", "content": "Hi"}], max_tokens=3, stream=True, **COLD))
    found |= {"chat_keys": sorted(chat), "chat_choice_keys": sorted(chat["choices"][0]), "chat_chunk_keys": sorted(chunk)}
    plain = llama_cpp.Llama(path, n_ctx=128, embedding=True, verbose=False).embed(PROMPT)
    found["embed"] = ["list", len(plain), plain[0][:4]]
    mean = llama_cpp.Llama(path, n_ctx=128, embedding=True, verbose=False, pooling_type=llama_cpp.LLAMA_POOLING_TYPE_MEAN)
    vectors = mean.embed(PROMPT)[:4], mean.embed(PROMPT, normalize=True)[:4]
    found["embed_mean"] = [mean.pooling_type(), *vectors, mean.embed(["a", "b c"], return_count=True)[1]]
    return found
