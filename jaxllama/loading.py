"""From a file, or a name, to a loaded model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from .api import Model
from .decode.processes import check_process
from .formats.gguf import Field, open_gguf
from .hub import find_model
from .models import cache_dtype, load_packed, read_config
from .models.parameters import Progress
from .names import tells_nearest
from .notebook import compiling_bar
from .numeric import flag_of, whole_of
from .quant.quantize_file import check_tensor
from .text import Tokenizer

DEFAULT_CONTEXT = 4096


@tells_nearest
def load(
    path_or_repo: str | Path | None = None,
    *,
    n_ctx: int | None = None,
    n_batch: int = 512,
    exact: bool = False,
    cache_type: str | None = None,
    overrides: Sequence[Field] = (),
    check_tensors: bool = False,
    load_mode: str = "auto",
    chat_template: str | None = None,
    progress: Progress | None = None,
    compiling: Callable[[str, float | None], None] | None = None,
) -> Model:
    """Load a model; its weights stay packed.

    Args:
        path_or_repo: a GGUF file (the first, if it is split), `user/repo[:quant]` on the Hugging Face hub, or None for the model that ships with the package.
        n_ctx: tokens a sequence may have; 0 for as many as the model was trained for. By default that number, but at most 4096.
        n_batch: maximum number of prompt tokens that one prefill call processes.
        exact: compute in float32 throughout, KV cache included; slow, for comparisons.
        cache_type: data type of the KV cache: "f16" (the default), "bf16" or "f32".
        overrides: metadata that replaces the file's own, see `parse_overrides`.
        check_tensors: check the tensor data for infinities and NaN first, and hold a copy of the weights in the cache folder against the file.
        load_mode: "mmap" maps a copy of the weights in the device's layout, which the first load makes in `packed_folder()`; all processes with the same model
            share it, and later loads take next to no time. Such a copy may be deleted while it is in use; who cuts it off or writes into it ends the processes
            that use it, or changes their weights. "none" packs them into memory of this process. "auto": "mmap" where it pays and there is room.
        chat_template: Jinja, or the name of one of llama.cpp's built-in templates, instead of the file's.
        progress: called with (bytes packed, bytes in all).
        compiling: called with (name, None) before a program is compiled and with (name, seconds) afterwards. In a notebook there is a bar by default.

    Raises:
        GGUFError: the file is damaged, or holds what is not supported (with `check_tensors` also numbers that are not finite).
        FileNotFoundError: there is no such file or repository.
    """
    check_process()
    if n_ctx is not None:
        n_ctx = whole_of("n_ctx", n_ctx, note=" (0 is the model's training context)")
    n_batch = whole_of("n_batch", n_batch, 1)
    exact, check_tensors = flag_of("exact", exact), flag_of("check_tensors", check_tensors)
    if compiling is not None and not callable(compiling):
        raise TypeError(f"compiling: expected a function of a program's name and the seconds it took, found {compiling!r}")
    if isinstance(overrides, str) or not isinstance(overrides, Iterable) or not all(isinstance(one, Field) for one in overrides):
        raise TypeError(f"overrides: expected what parse_overrides makes of KEY=TYPE:VALUE, found {overrides!r}")
    kind = cache_type or ("f32" if exact else "f16")
    cache_dtype(kind)  # a mistake is told before the weights are read
    file = open_gguf(find_model(path_or_repo), overrides=overrides)
    if check_tensors:
        for tensor in file.tensors.values():
            check_tensor(file, tensor)
    config = replace(read_config(file), exact=exact)
    trained = config.n_ctx_train
    context = min(trained, DEFAULT_CONTEXT) if n_ctx is None else n_ctx or trained
    with ThreadPoolExecutor(1) as beside:  # a large vocabulary takes as long as packing, which needs no Python
        reading = beside.submit(Tokenizer.from_metadata, file.metadata, str(file.path))
        params = load_packed(file, config, load_mode, progress, compare=check_tensors)
        tokenizer = reading.result()
    model = Model(config, params, tokenizer, file, n_ctx=context, n_batch=n_batch, cache_type=kind, chat_template=chat_template)
    model.programs.tell(compiling or compiling_bar())
    return model
