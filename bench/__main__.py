"""All benchmarks, or those that are named: `python -m bench send store`.

Options go to the benchmark behind whose name they stand: `python -m bench wire --quick`.
"""

from __future__ import annotations

import subprocess
import sys
from itertools import takewhile

BENCHMARKS = ("send", "store", "wake", "wire")


def main() -> int:
    named = list(takewhile(lambda word: not word.startswith("-"), sys.argv[1:]))
    options = sys.argv[1 + len(named) :]
    unknown = [name for name in named if name not in BENCHMARKS]
    if unknown:
        print(f"there is no benchmark {unknown[0]}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    if options and len(named) != 1:
        print(f"{options[0]}: name the one benchmark that it is for before it", file=sys.stderr)
        return 2
    for name in named or BENCHMARKS:
        print(f"── {name}", flush=True)
        code = subprocess.call([sys.executable, "-m", f"bench.{name}", *options])
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
