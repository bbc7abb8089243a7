#!/usr/bin/env python3
"""Times torch.load of a .pt file into host memory, for bench_torch.

usage: torch_archive.py FILE BYTES

Writes FILE as torch.save does, with about BYTES of tensors, and says `torch VERSION`, or in one line what is missing. Then
answers each line of its input with seconds, from a call until each tensor can be used:

  load   torch.load(FILE), which reads everything
  mmap   torch.load(FILE, mmap=True), and one byte of every page is read; 0 where this torch has no mmap
"""
import inspect
import os
import sys
import time


def write(torch, path, size):
    count = 16
    rows = max(1, size // count // 4096)
    torch.save({"layer.%d.weight" % i: torch.rand(rows, 1024) for i in range(count)}, path)
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def touch(torch, tensors):
    for tensor in tensors.values():
        tensor.flatten()[::1024].sum()


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    path, size = sys.argv[1], int(sys.argv[2])
    try:
        import torch
    except ImportError:
        print("%s has no torch" % sys.executable, flush=True)
        return
    has_mmap = "mmap" in inspect.signature(torch.load).parameters
    write(torch, path, size)
    print("torch %s" % torch.__version__, flush=True)
    for line in sys.stdin:
        began = time.monotonic()
        if line.strip() == "load":
            tensors = torch.load(path, map_location="cpu")
        elif has_mmap:
            tensors = torch.load(path, map_location="cpu", mmap=True)
            touch(torch, tensors)
        else:
            print(0, flush=True)
            continue
        seconds = time.monotonic() - began
        del tensors
        print("%.6f" % seconds, flush=True)


if __name__ == "__main__":
    main()
