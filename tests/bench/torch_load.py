#!/usr/bin/env python3
"""Times torch's own ways from a safetensors file in the page cache to a GPU, for bench_gpu.

usage: torch_load.py FILE DIRECTORY    (DIRECTORY has room for the same weights as a .pt file)

Prints `NAME SECONDS`, the median of five, a line for each way; or one line that says what is missing.
"""
import os
import statistics
import sys
import tempfile
import time


def timed(torch, load):
    seconds = []
    for attempt in range(6):
        torch.cuda.synchronize()
        began = time.monotonic()
        tensors = load()
        torch.cuda.synchronize()
        if attempt > 0:  # the first makes a context
            seconds.append(time.monotonic() - began)
        del tensors
        torch.cuda.empty_cache()
    return statistics.median(seconds)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    path, directory = sys.argv[1:]
    try:
        import torch
    except ImportError:
        print("torch is not compared: this Python has none (MODELD_BENCH_PYTHON)")
        return
    if not torch.cuda.is_available():
        print("torch is not compared: torch %s cannot use CUDA" % torch.__version__)
        return
    try:
        from safetensors.torch import load_file
    except ImportError:
        print("torch is not compared: this Python has no safetensors")
        return
    print("safetensors.torch.load_file %.6f" % timed(torch, lambda: load_file(path, device="cuda:0")), flush=True)
    with tempfile.NamedTemporaryFile(dir=directory, suffix=".pt") as file:
        torch.save(load_file(path, device="cpu"), file.name)
        os.sync()
        print("torch.load %.6f" % timed(torch, lambda: torch.load(file.name, map_location="cuda:0", weights_only=True)))


if __name__ == "__main__":
    main()
