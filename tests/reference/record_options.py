"""Record the options of llama.cpp's tools: `record_options.py ARG_CPP`, the file `common/arg.cpp` of llama.cpp's source.

A line of `llama_options.txt` is: the tools, the names, the number of values, `!` and the names that turn it off, `$` and its variable.
"""

from __future__ import annotations

import re
from pathlib import Path

from arguments import only_argument

TOOLS = {"COMMON", "COMPLETION", "CLI", "PERPLEXITY", "IMATRIX", "TOKENIZE"}
# Options whose handler does not show the number of values.
VALUES = {"--version": 0, "--cache-list": 0, "--list-devices": 0, "--log-disable": 0, "--log-jsonl": 0, "--log-prefix": 0, "--log-timestamps": 0}


def options(source: str) -> list[str]:
    found = []
    for text in source.split("add_opt(common_arg(")[1:]:
        names = re.match(r"\s*(?://.*\n\s*)*\{([^}]*)\}(?:\s*,\s*\{([^}]*)\})?", text)
        if names is None:
            continue
        handler = re.search(r"\[[^\]]*\]\(common_params & (?:params)?(?:, ([^)]*))?\)", text)
        given = handler[1] or "" if handler else "?"
        spelled, off = (re.findall(r'"([^"]+)"', part or "") for part in names.groups())
        count = VALUES.get(spelled[-1], 0 if given in ("", "bool value") else 1 + given.count(","))
        tools = re.search(r"set_examples\(\{([^}]*)\}", text)
        chosen = re.findall(r"LLAMA_EXAMPLE_(\w+)", tools[1]) if tools else ["CLI" if "set_examples(mmproj_examples" in text else "COMMON"]
        chosen = ["COMMON"] if "COMMON" in chosen else [tool for tool in chosen if tool in TOOLS]
        variable = re.search(r'set_env\("([^"]+)"\)', text)
        if chosen:
            words = [",".join(chosen), "/".join(spelled), str(count), *(["!" + "/".join(off)] if off else []), *(["$" + variable[1]] if variable else [])]
            found.append(" ".join(words))
    return found


if __name__ == "__main__":
    lines = options(Path(only_argument(__doc__, "ARG_CPP", "common/arg.cpp of llama.cpp's source")).read_text(encoding="utf-8"))
    Path(__file__).with_name("llama_options.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} options")
