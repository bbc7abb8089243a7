#!/usr/bin/env python3
"""Does torch, reading a mapping of modeld's through DLPack, compute what it computes from its own load?

usage: torch_results.py BRIDGE_LIBRARY ENDPOINT REFERENCE FILE DEVICE

DEVICE is host, or cuda:N. Prints one line for docs/gpu-results.md. Ends with 0 when all results are bit-equal, 1 when not, 77
where torch is missing or cannot use the device.
"""
import ctypes
import json
import struct
import sys
import time

DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64", "I64": "int64", "I32": "int32", "U8": "uint8"}


def skip(why):
    print("not asked: " + why)
    sys.exit(77)


def load_bridge(path):
    bridge = ctypes.CDLL(path)
    bridge.bridge_acquire.restype = ctypes.c_void_p
    bridge.bridge_acquire.argtypes = [ctypes.c_char_p] * 3
    bridge.bridge_size.restype = ctypes.c_uint64
    bridge.bridge_size.argtypes = [ctypes.c_void_p]
    bridge.bridge_name.restype = ctypes.c_char_p
    bridge.bridge_name.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
    bridge.bridge_tensor.restype = ctypes.c_void_p
    bridge.bridge_tensor.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
    bridge.bridge_release.argtypes = [ctypes.c_void_p]
    return bridge


def shared_tensors(torch, bridge, endpoint, reference, device):
    """Tensors by name, in the memory that modeld has mapped here."""
    handle = bridge.bridge_acquire(endpoint.encode(), reference.encode(), device.encode())
    if not handle:
        sys.exit("torch_results.py: modeld gives no model (above)")
    new_capsule = ctypes.pythonapi.PyCapsule_New
    new_capsule.restype = ctypes.py_object
    new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    tensors = {}
    for index in range(bridge.bridge_size(handle)):
        managed = bridge.bridge_tensor(handle, index)
        if managed:
            name = bridge.bridge_name(handle, index).decode()
            tensors[name] = torch.utils.dlpack.from_dlpack(new_capsule(managed, b"dltensor", None))
    bridge.bridge_release(handle)  # the tensors keep the mapping
    return tensors


def own_tensors(torch, path, device):
    """The same from the file, without modeld and without another package."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] not in DTYPES:
            continue
        begin, end = entry["data_offsets"]
        dtype = getattr(torch, DTYPES[entry["dtype"]])
        if begin == end:
            tensor = torch.empty(entry["shape"], dtype=dtype)
        else:
            tensor = torch.frombuffer(data, dtype=torch.uint8)[begin:end].clone().view(dtype).reshape(entry["shape"])
        tensors[name] = tensor.to(device)
    return tensors


def results(torch, tensors):
    """What a worker would compute: products and sums, on the device, in a fixed order."""
    out = {}
    for name, tensor in sorted(tensors.items()):
        if tensor.dim() == 2 and tensor.is_floating_point():
            generator = torch.Generator().manual_seed(1)
            x = torch.rand(4, tensor.shape[1], generator=generator).to(device=tensor.device, dtype=tensor.dtype)
            out[name] = x @ tensor.t()
        else:
            out[name] = tensor.clone()
    return out


def main():
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    library, endpoint, reference, path, device = sys.argv[1:]
    try:
        import torch
        import torch.utils.dlpack
    except ImportError:
        skip("this Python has no torch")
    torch_device = "cpu" if device == "host" else device
    if device != "host" and not torch.cuda.is_available():
        skip("torch %s cannot use CUDA" % torch.__version__)
    began = time.monotonic()
    shared = shared_tensors(torch, load_bridge(library), endpoint, reference, device)
    attached = time.monotonic()
    own = own_tensors(torch, path, torch_device)
    loaded = time.monotonic()
    if not shared or shared.keys() != own.keys():
        sys.exit("torch_results.py: other tensors: %s" % sorted(shared.keys() ^ own.keys()))
    shared_results, own_results = results(torch, shared), results(torch, own)
    differing = [n for n in own if not torch.equal(shared_results[n], own_results[n]) or shared[n].dtype != own[n].dtype]
    print(
        "torch %s: %d of %d results are bit-equal to those of its own load; attach %.1f ms, own load %.1f ms"
        % (torch.__version__, len(own) - len(differing), len(own), (attached - began) * 1e3, (loaded - attached) * 1e3)
    )
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
