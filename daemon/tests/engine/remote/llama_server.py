"""llama.cpp's own server, as the package xllamacpp has it, with the file of a model of the catalog, by default the default model's.

    python llama_server.py KEY [MODEL]

Prints the address of its completions when it is ready, and serves until its standard input ends.
"""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request

import xllamacpp

from green_code.models.catalog import find_model
from green_code.models.gguf_source import GgufSource
from green_code.settings import default_settings

POSITIONS = 2048


def main() -> None:
    key, model, *_ = (*sys.argv[1:], default_settings().model)
    source = find_model(model).open()
    assert isinstance(source, GgufSource)
    params = xllamacpp.CommonParams()
    params.model.path = str(source.path)
    params.port, params.api_keys = 0, [key]
    params.n_ctx, params.n_parallel, params.n_gpu_layers = POSITIONS, 1, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # its threads wait for each other by spinning
    params.warmup, params.endpoint_slots = False, True
    server = xllamacpp.Server(params)
    while not is_ready(server.listening_address):
        time.sleep(0.1)
    print(f"{server.listening_address}/v1", flush=True)
    sys.stdin.read()


def is_ready(address: str) -> bool:
    try:
        return bool(urllib.request.urlopen(f"{address}/health").status == 200)
    except urllib.error.HTTPError:
        return False


if __name__ == "__main__":
    main()
