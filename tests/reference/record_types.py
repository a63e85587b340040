"""Record which formats llama.cpp's quantizer chooses, for models of several shapes and all file types.

    python tests/reference/record_types.py PEER_PYTHON               # writes types.npz
    python tests/reference/record_types.py PEER_PYTHON --compare     # shows where llama.cpp differs from what is recorded, and writes nothing

PEER_PYTHON is an interpreter with llama-cpp-python (extra `reference`). The models have weights of zeros: only names and shapes count.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path

import gguf
import numpy as np
from arguments import parser_of, peer_of

from jaxllama.quant.mixtures import FILE_TYPES

HERE = Path(__file__).parent
RECORD = HERE / "types.npz"
# name: architecture, layers, heads, heads of keys and values, experts, columns, own output matrix
MODELS = {
    "small": ("llama", 2, 4, 4, 0, 256, True),
    "tied": ("llama", 16, 8, 2, 0, 256, False),
    "shared_heads": ("llama", 32, 8, 1, 0, 256, True),
    "experts8": ("llama", 9, 8, 2, 8, 256, True),
    "experts4": ("llama", 9, 8, 4, 4, 256, True),
    "seventy": ("llama", 80, 8, 1, 0, 256, True),
    "columns96": ("llama", 5, 4, 4, 0, 96, True),
    "columns100": ("llama", 3, 4, 4, 0, 100, False),
    "falcon": ("falcon", 32, 8, 8, 0, 256, True),
    "glm5-next": ("glm5-next", 9, 8, 4, 4, 256, True),
    "bailingmoe3": ("bailingmoe3", 9, 8, 4, 4, 256, True),
}
# What llama.cpp demands of the metadata of some architectures, and tensors that its rules tell apart.
_MLA = {"attention.key_length_mla": 64, "attention.value_length_mla": 64, "attention.kv_lora_rank": 64, "ssm.conv_kernel": 4, "kda.head_dim": 64}
_MOE = {"expert_feed_forward_length": 64, "expert_shared_count": 1}
KEYS: dict[str, dict[str, int | float]] = {
    "glm5-next": _MLA
    | _MOE
    | {"attention.q_lora_rank": 64, "hyper_connection.count": 4, "hyper_connection.sinkhorn_iterations": 4, "hyper_connection.epsilon": 1.0}
    | {f"attention.indexer.{key}": 4 for key in ("head_count", "key_length", "top_k", "kpool")},
    "bailingmoe3": _MLA | _MOE | {"kda.gate_lower_bound": -1.0, "leading_dense_block_count": 1, "expert_gating_func": 2},
}
SHARED = {"ffn_up_shexp.weight": (64, 256), "ffn_gate_shexp.weight": (64, 256), "ffn_down_shexp.weight": (256, 64)}
SPECIAL = {
    "rope_freqs.weight": (256,),
    "position_embd.weight": (64, 256),
    "blk.0.ssm_a": (4, 256),
    "blk.0.ssm_beta.weight": (4, 256),
    "blk.1.attn_q_a.weight": (64, 256),
    "blk.1.attn_q_b.weight": (256, 256),
    "blk.1.attn_k_b.weight": (4, 64, 256),
    "blk.1.indexer.proj.weight": (4, 256),
    "blk.2.hc_attn_fn.weight": (4, 256),
    "blk.8.nextn.eh_proj.weight": (256, 512),
}
WITH_IMPORTANCE = ("Q4_0", "Q5_0", "IQ3_XXS", "IQ4_NL", "IQ4_XS", "Q4_K_M", "IQ2_S")
LETTERS = "".join(chr(c) for c in range(48, 123))


def tensors(model: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes (numpy's order) of a model's tensors."""
    architecture, layers, heads, kv, experts, width, output = MODELS[model]
    head, ff = width // heads, 2 * width
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (64, width), "output_norm.weight": (width,)}
    if output:
        found["output.weight"] = (64, width)
    for i in range(layers):
        at = f"blk.{i}."
        found[at + "attn_norm.weight"] = (width,)
        if architecture == "falcon":
            found[at + "attn_qkv.weight"] = (3 * width, width)
        else:
            found |= {at + "attn_q.weight": (width, width), at + "attn_k.weight": (kv * head, width), at + "attn_v.weight": (kv * head, width)}
        found[at + "attn_output.weight"] = (width, width)
        if experts:
            found[at + "ffn_gate_inp.weight"] = (experts, width)
            found |= {at + f"ffn_{role}_exps.weight": (experts, ff, width) for role in ("gate", "up")}
            found[at + "ffn_down_exps.weight"] = (experts, width, ff)
            if architecture in KEYS:
                found |= {at + name: shape for name, shape in SHARED.items()}
        else:
            if architecture != "falcon":
                found |= {at + "ffn_norm.weight": (width,), at + "ffn_gate.weight": (ff, width)}
            found |= {at + "ffn_up.weight": (ff, width), at + "ffn_down.weight": (width, ff)}
    return found | (SPECIAL if architecture in KEYS else {})


def write(model: str, path: Path) -> None:
    architecture, layers, heads, kv, experts, width, _ = MODELS[model]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    writer.add_vocab_size(64)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(2)
    for key, value in KEYS.get(architecture, {}).items():
        if isinstance(value, int):
            writer.add_uint32(f"{architecture}.{key}", value)
        else:
            writer.add_float32(f"{architecture}.{key}", value)
    for name, shape in tensors(model).items():
        writer.add_tensor(name, np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def importance(model: str) -> dict[str, int]:
    """How many numbers an importance matrix has for each tensor."""
    return {name: (shape[0] if len(shape) == 3 else 1) * shape[-1] for name, shape in tensors(model).items() if len(shape) > 1}


def said(peer: str, model: str, asked: list[tuple[str, bool]]) -> list[str]:
    """What llama.cpp says of a model, for each (file type, with an importance matrix)."""
    with tempfile.TemporaryDirectory() as folder:
        path, question, answer = (Path(folder) / name for name in ("model.gguf", "asked.json", "said.json"))
        write(model, path)
        types = [(FILE_TYPES[file_type][0], weighted) for file_type, weighted in asked]
        question.write_text(json.dumps({"importance": importance(model), "types": types}))
        subprocess.run([peer, HERE / "peer_types.py", path, question, answer], check=True)
        return json.loads(answer.read_text())


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("peer", type=peer_of, help="interpreter with llama-cpp-python")
    parser.add_argument("--compare", action="store_true", help="with what is recorded, instead of recording")
    args = parser.parse_args()
    kinds: list[str] = []
    recorded: dict[str, str] = {}
    asked = [(file_type, weighted) for file_type in FILE_TYPES for weighted in ((False, True) if file_type in WITH_IMPORTANCE else (False,))]
    for model in MODELS:
        for (file_type, weighted), shown in zip(asked, said(args.peer, model, asked), strict=True):
            if "no tensor type fallback" in shown:
                continue  # llama.cpp gives up where rows are no whole number of blocks and it knows no smaller block
            found = {}
            for name, old, new in re.findall(r"\] +(\S+) +- \[.*type = +(\w+), size = .*?(?:\((\w+)\))?$", shown, re.M):
                found[name] = (new or old).upper()
            assert found.keys() == tensors(model).keys(), (model, file_type, shown[-2000:])
            kinds += [k for k in dict.fromkeys(found.values()) if k not in kinds]
            key = f"{model} {file_type}{' importance' if weighted else ''}"
            recorded[key] = "".join(LETTERS[kinds.index(found[name])] for name in tensors(model))
        print(model)
    if args.compare:
        old = dict(np.load(RECORD))
        same = list(old.pop("kinds")) == kinds
        different = sorted(key for key in old.keys() | recorded.keys() if key not in old or not same or str(old[key]) != recorded.get(key))
        print(f"{len(different)} of {len(recorded)} differ", *different[:9], sep="\n")
        return
    np.savez_compressed(RECORD, kinds=np.asarray(kinds), **{k: np.asarray(v) for k, v in recorded.items()})


if __name__ == "__main__":
    main()
