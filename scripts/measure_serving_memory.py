#!/usr/bin/env python3
"""Memory of `dlcm serve` over many requests of all kinds, bad ones and vanishing clients included.

    scripts/measure_serving_memory.py --dlcm build/release/dlcm --model RUN [--requests 10000] [--clients 8]

Prints the resident memory after each tenth of the requests, then how often each status came. Exit status 1 where the
memory of the last half grew by more than 2 %, or where the server did not answer a good request with 200.
"""
import argparse
import collections
import concurrent.futures
import http.client
import json
import random
import re
import socket
import subprocess
import sys

BAD = [b"{", b"\xff", b'{"prompt": [999999]}', b'{"max_tokens": -1}', b'{"prompt": {}}', b'{"prompt": "a", "stop": 5}']


def body_of(draw):
    return {"prompt": "".join(draw.choices("abcdefghij klmnop", k=draw.randrange(1, 200))), "max_tokens": draw.randrange(1, 12),
            "seed": draw.randrange(1000), "n": draw.choice([1, 1, 2]), "logprobs": draw.choice([None, 1, 5]),
            "echo": draw.random() < 0.3, "stream": draw.random() < 0.4, "stop": draw.choice([None, ["e", "zz"]])}


def ask(port, number):
    """The status of one request; None for a client that vanished."""
    draw = random.Random(number)
    kind = draw.random()
    if kind < 0.05:  # leaves in the middle
        client = socket.create_connection(("127.0.0.1", port))
        content = json.dumps(body_of(draw) | {"max_tokens": 500, "stream": True}).encode()
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        if draw.random() < 0.5:
            client.recv(100)
        client.close()
        return None
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    path, content = "/v1/completions", json.dumps(body_of(draw)).encode()
    if kind < 0.15:
        content = draw.choice(BAD)
    elif kind < 0.2:
        path, content = "/segment", json.dumps({"text": "abc " * draw.randrange(50)}).encode()
    elif kind < 0.25:
        path, content = "/tokenize", json.dumps({"prompt": "abc " * draw.randrange(500)}).encode()
    connection.request("POST", path, content)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, kind >= 0.05 and kind < 0.15


def resident(port):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    return int(re.search(r"^process_resident_memory_bytes (\d+)", text, re.M).group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dlcm", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--clients", type=int, default=8)
    arguments = parser.parse_args()
    server = subprocess.Popen([arguments.dlcm, "serve", "--model", arguments.model, "--port", "0"], stderr=subprocess.PIPE, text=True)
    port = int(re.search(r":(\d+)/", server.stderr.readline()).group(1))
    server.stderr.readline()
    statuses, memory, wrong = collections.Counter(), [], 0
    tenth = max(1, arguments.requests // 10)
    with concurrent.futures.ThreadPoolExecutor(arguments.clients) as clients:
        for first in range(0, arguments.requests, tenth):
            for answer in clients.map(lambda number: ask(port, number), range(first, min(first + tenth, arguments.requests))):
                statuses["left" if answer is None else answer[0]] += 1
                wrong += answer is not None and answer[0] != (400 if answer[1] else 200)
            memory.append(resident(port))
            print(f"{first + tenth} requests: {memory[-1] / 1e6:.1f} MB", flush=True)
    server.terminate()
    print(dict(statuses), "exit status", server.wait())
    growth = memory[-1] / memory[len(memory) // 2 - 1] - 1
    print(f"growth over the last half: {growth:+.2%}; unexpected statuses: {wrong}")
    sys.exit(growth > 0.02 or wrong > 0)


if __name__ == "__main__":
    main()
