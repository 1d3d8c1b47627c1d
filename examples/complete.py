"""The Python API in ten lines: load a model, complete, read the joules. Run: python examples/complete.py [MODEL]"""

import sys

from green_code.engine.loading import load_runtime
from green_code.engine.requests import completion_params

runtime = load_runtime(sys.argv[1] if len(sys.argv) > 1 else "gemma-3-270m")
session = runtime.new_session()  # a document: its KV cache is reused from request to request
for decoding in ("full", "exact", "fast"):
    params = completion_params("def add(a, b):\n    return", decoding=decoding)
    result = session.complete(params, lambda: None)  # the second argument cancels
    print(f"{decoding:5} {result['text']!r:20} exits {result['exits']}", end="  ")
    print(f"{result['energy_joules']:.3f} J ({result['energy_source']}), saving {result['saving']:.0%}")
