#!/usr/bin/env python3
"""llama.cpp as a peer for `dlcm bench decode`: tokens a second of one stream.

A LLaMA of the configuration's shape with random weights is written in Q8_0 and in Q4_0 (8.5 and 4.5 bits a weight, all
matrices alike); its cache is 16 bits wide, and flash attention is measured off and on. Both programs take the same
context and number of threads; their rounds take turns, and medians count.

    bench/peers/llama_cpp_peer.py --dlcm build/release/dlcm --config configs/llama-1.3b.toml --int8 FILE... --int4 FILE...
        [--context 512 8192] [--threads N] [--rounds N] [--tokens N] [--directory DIR]

FILEs are models that `dlcm export` wrote with int8 and int4 weights. Needs a Python with tomllib (3.11) and the packages
llama-cpp-python and gguf.
"""
import argparse
import ctypes
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time
import tomllib

import gguf
import llama_cpp
import numpy as np

BLOCK = 32  # weights that share a scale in both formats
BLOCK_BYTES = {"Q8_0": 2 + 32, "Q4_0": 2 + 16}


def random_blocks(rows, columns, format_name, random):
    """Quantised random weights, [rows, bytes of a row]: what the numbers are does not change how long they take."""
    blocks = random.integers(0, 256, size=(rows, columns // BLOCK, BLOCK_BYTES[format_name]), dtype=np.uint8)
    blocks[..., :2] = np.frombuffer(np.float16(1e-3).tobytes(), dtype=np.uint8)
    return blocks.reshape(rows, -1)


def write_model(path, model, format_name):
    token = model["token"]
    width, heads, kv_heads = token["width"], token["heads"], token["kv_heads"]
    kv_width = width // heads * kv_heads
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_vocab_size(model["vocabulary"])
    writer.add_tokenizer_model("no_vocab")
    writer.add_context_length(1 << 16)
    writer.add_embedding_length(width)
    writer.add_block_count(token["layers"])
    writer.add_feed_forward_length(token["feed_forward"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    random = np.random.default_rng(1)
    quantised = gguf.GGMLQuantizationType[format_name]

    def matrix(name, rows, columns):
        writer.add_tensor(name, random_blocks(rows, columns, format_name, random), raw_dtype=quantised)

    def norm(name):
        writer.add_tensor(name, np.ones(width, dtype=np.float32))

    matrix("token_embd.weight", model["vocabulary"], width)
    matrix("output.weight", model["vocabulary"], width)
    norm("output_norm.weight")
    for layer in range(token["layers"]):
        prefix = f"blk.{layer}."
        norm(prefix + "attn_norm.weight")
        norm(prefix + "ffn_norm.weight")
        matrix(prefix + "attn_q.weight", width, width)
        matrix(prefix + "attn_k.weight", kv_width, width)
        matrix(prefix + "attn_v.weight", kv_width, width)
        matrix(prefix + "attn_output.weight", width, width)
        matrix(prefix + "ffn_gate.weight", token["feed_forward"], width)
        matrix(prefix + "ffn_up.weight", token["feed_forward"], width)
        matrix(prefix + "ffn_down.weight", width, token["feed_forward"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Stream:
    """One sequence of a llama.cpp model; `context` tokens are read before the measured ones."""

    def __init__(self, model, vocabulary, longest, threads, flash):
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = longest
        parameters.n_batch = parameters.n_ubatch = 512
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.flash_attn_type = int(flash)
        parameters.no_perf = True
        self.context = llama_cpp.llama_init_from_model(model, parameters)
        if not self.context:
            raise SystemExit("llama.cpp could not make a context")
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.ids = np.random.default_rng(2).integers(0, vocabulary, longest)
        self.length = 0

    def decode(self, count):
        ids = (llama_cpp.llama_token * count)(*self.ids[self.length : self.length + count].tolist())
        if llama_cpp.llama_decode(self.context, llama_cpp.llama_batch_get_one(ids, count)) != 0:
            raise SystemExit("llama.cpp could not decode")
        llama_cpp.llama_synchronize(self.context)
        self.length += count

    def read_to(self, length):
        while self.length < length:
            self.decode(min(512, length - self.length))

    def seconds_a_token(self, tokens):
        start = self.length
        begin = time.perf_counter()
        for _ in range(tokens):
            self.decode(1)
        seconds = time.perf_counter() - begin
        llama_cpp.llama_memory_seq_rm(self.memory, 0, start, -1)
        self.length = start
        return seconds / tokens

    def close(self):
        llama_cpp.llama_free(self.context)


def decode_with_dlcm(options, files, context):
    """{file: seconds a token}, and the bytes a second that the machine reads."""
    command = [options.dlcm, "bench", "decode", "--json", "--streams", "1", "--context", str(context)]
    command += ["--tokens", str(options.tokens), "--repeats", "1", "--threads", str(options.threads)]
    command += ["--prompt", "16", "--cache", "bfloat16"]
    for file in files:
        command += ["--model", file]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [json.loads(line) for line in printed.splitlines()]
    seconds = {line["model"]: 1 / line["tokens_per_second"] for line in lines if line["line"] == "decode"}
    return seconds, lines[0]["read_bytes_per_second"]


def compare(options, shape, format_name, files, model):
    longest = max(options.context) + options.tokens + 64
    streams = {
        "llama.cpp": Stream(model, shape["vocabulary"], longest, options.threads, flash=False),
        "llama.cpp, flash attention": Stream(model, shape["vocabulary"], longest, options.threads, flash=True),
    }
    for context in sorted(options.context):
        for stream in streams.values():
            stream.read_to(context)
            stream.seconds_a_token(1)
        seconds, read = {}, []
        for _ in range(options.rounds):
            ours, bandwidth = decode_with_dlcm(options, files, context)
            read.append(bandwidth)
            for name, taken in ours.items():
                seconds.setdefault(f"dlcm {name}", []).append(taken)
            for name, stream in streams.items():
                seconds.setdefault(name, []).append(stream.seconds_a_token(options.tokens))
        best_peer = min(statistics.median(seconds[name]) for name in streams)
        for name, taken in seconds.items():
            median = statistics.median(taken)
            result = {
                "weights": format_name,
                "context": context,
                "program": name,
                "tokens_per_second": 1 / median,
                "fastest_tokens_per_second": 1 / min(taken),
                "slowest_tokens_per_second": 1 / max(taken),
                "times_llama_cpp": best_peer / median,
                "read_bytes_per_second": max(read),
            }
            print(json.dumps(result), flush=True)
    for stream in streams.values():
        stream.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dlcm", required=True, help="the binary")
    parser.add_argument("--config", required=True, help="a llama configuration, whose shape llama.cpp's model gets")
    parser.add_argument("--int8", nargs="*", default=[], help="exported models beside Q8_0")
    parser.add_argument("--int4", nargs="*", default=[], help="exported models beside Q4_0")
    parser.add_argument("--context", type=int, nargs="+", default=[512, 8192])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=16, help="decoded in each round")
    parser.add_argument("--directory", help="where llama.cpp's models are kept; a temporary one if not given")
    options = parser.parse_args()
    with open(options.config, "rb") as file:
        shape = tomllib.load(file)["model"]
    if shape["kind"] != "llama":
        raise SystemExit(f"expected a configuration of kind llama, found {shape['kind']} in {options.config}")

    @llama_cpp.llama_log_callback
    def quiet(level, text, data):
        pass

    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    with tempfile.TemporaryDirectory() as temporary:
        directory = pathlib.Path(options.directory or temporary)
        for format_name, files in (("Q8_0", options.int8), ("Q4_0", options.int4)):
            if not files:
                continue
            path = directory / f"random-{format_name}.gguf"
            if not path.exists():
                partial = path.with_suffix(".partial")
                write_model(partial, shape, format_name)
                partial.rename(path)
            parameters = llama_cpp.llama_model_default_params()
            model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
            if not model:
                raise SystemExit(f"llama.cpp could not load {path}")
            compare(options, shape, format_name, files, model)
            llama_cpp.llama_model_free(model)


if __name__ == "__main__":
    main()
