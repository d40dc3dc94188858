#!/usr/bin/env python3
"""The same model in PyTorch eager, as a peer for `dlcm bench train`.

No straw man: the backbone runs on packed concepts, attention is scaled_dot_product_attention, the optimiser is PyTorch's
fused AdamW, boundaries are found and pooled with vectorised operations. Both programs train the same configuration on
random tokens, a document a window; their rounds take turns, and medians count.

    bench/peers/eager_twin.py --dlcm build/release/dlcm --config configs/small.toml [--precision fp32] [--threads N]

Needs a Python with torch and tomllib (3.11).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import tomllib

import torch
import torch.nn.functional as F
from torch import nn


class RMSNorm(nn.Module):
    def __init__(self, width, epsilon):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.epsilon)


def rotate(x, cosine, sine):
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


class Layer(nn.Module):
    """Pre-RMSNorm, RoPE, grouped-query attention, SwiGLU on rows packed [rows, width].

    `pad` turns packed rows [rows, heads, size] into [documents, heads, longest, size], `unpad` back.
    """

    def __init__(self, stack, epsilon):
        super().__init__()
        width, self.heads, self.kv_heads = stack["width"], stack["heads"], stack["kv_heads"]
        self.size = width // self.heads
        self.attention_norm, self.feed_forward_norm = RMSNorm(width, epsilon), RMSNorm(width, epsilon)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, self.kv_heads * self.size, bias=False)
        self.value = nn.Linear(width, self.kv_heads * self.size, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, stack["feed_forward"], bias=False)
        self.up = nn.Linear(width, stack["feed_forward"], bias=False)
        self.down = nn.Linear(stack["feed_forward"], width, bias=False)

    def forward(self, x, angles, pad, unpad):
        normed = self.attention_norm(x)
        query = rotate(pad(self.query(normed).view(-1, self.heads, self.size)), *angles)
        key = rotate(pad(self.key(normed).view(-1, self.kv_heads, self.size)), *angles)
        value = pad(self.value(normed).view(-1, self.kv_heads, self.size))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        x = x + self.output(unpad(mixed).reshape(x.shape))
        normed = self.feed_forward_norm(x)
        return x + self.down(F.silu(self.gate(normed)) * self.up(normed))


class Stack(nn.Module):
    def __init__(self, stack, layers, epsilon, theta):
        super().__init__()
        self.layers = nn.ModuleList(Layer(stack, epsilon) for _ in range(layers))
        self.size, self.theta = stack["width"] // stack["heads"], theta

    def forward(self, x, longest, pad, unpad):
        if not self.layers:
            return x
        exponent = torch.arange(0, self.size, 2, dtype=torch.float64) / self.size
        angle = torch.arange(longest, dtype=torch.float64).unsqueeze(1) * self.theta ** -exponent
        angles = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        for layer in self.layers:
            x = layer(x, angles, pad, unpad)
        return x


class Twin(nn.Module):
    def __init__(self, config):
        super().__init__()
        model, token = config["model"], config["model"]["token"]
        epsilon, theta = model.get("norm_epsilon", 1e-5), model.get("rope_theta", 10000.0)
        self.ratio, self.context, self.is_dlcm = config["parser"]["ratio"], config["train"]["context"], model["kind"] == "dlcm"
        width, vocabulary = token["width"], model["vocabulary"]
        self.embedding = nn.Embedding(vocabulary, width)
        self.norm, self.head = RMSNorm(width, epsilon), nn.Linear(width, vocabulary, bias=False)
        if not self.is_dlcm:
            self.decoder = Stack(token, token["layers"], epsilon, theta)
            return
        concept = model["concept"]
        scan = config["parser"].get("scan_width") or width // 2
        self.heads, self.kv_heads, self.size = token["heads"], token["kv_heads"], width // token["heads"]
        self.encoder = Stack(token, token["encoder_layers"], epsilon, theta)
        self.parser_norm, self.pooling_norm = RMSNorm(width, epsilon), RMSNorm(width, epsilon)
        self.parser_query, self.parser_key = nn.Linear(width, scan, bias=False), nn.Linear(width, scan, bias=False)
        self.up, self.start = nn.Linear(width, concept["width"], bias=False), nn.Parameter(torch.zeros(concept["width"]))
        self.backbone, self.backbone_norm = Stack(concept, concept["layers"], epsilon, theta), RMSNorm(concept["width"], epsilon)
        self.cross_norm, self.query_norm, self.key_norm = RMSNorm(width, epsilon), RMSNorm(self.size, epsilon), RMSNorm(self.size, epsilon)
        self.cross_query = nn.Linear(width, width, bias=False)
        self.cross_key = nn.Linear(concept["width"], self.kv_heads * self.size, bias=False)
        self.cross_value = nn.Linear(concept["width"], self.kv_heads * self.size, bias=False)
        self.cross_output = nn.Linear(width, width, bias=False)
        self.decoder = Stack(token, token["decoder_layers"], epsilon, theta)

    def forward(self, tokens, boundary):
        """tokens [B, T], boundary [B, T] bool with True at each first token -> hidden [B * T, D], scores [B, T]."""
        batch, length = tokens.shape
        x = self.embedding(tokens).view(batch * length, -1)
        pad = lambda rows: rows.view(batch, length, rows.shape[1], -1).transpose(1, 2)
        unpad = lambda rows: rows.transpose(1, 2)
        if not self.is_dlcm:
            return self.norm(self.decoder(x, length, pad, unpad)), None
        h = self.encoder(x, length, pad, unpad)
        scanned = self.parser_norm(h)
        query, key = self.parser_query(scanned).view(batch, length, -1), self.parser_key(scanned).view(batch, length, -1)
        scores = F.pad((1 - F.cosine_similarity(query[:, :-1], key[:, 1:], dim=-1)) / 2, (1, 0), value=1.0)

        # Places, packed over the batch: the mean of segment k is read at place k + 1 of its document.
        place = boundary.view(-1).cumsum(0) - 1
        places = int(place[-1]) + 1
        lengths = torch.zeros(places).index_add_(0, place, torch.ones(batch * length))
        means = torch.zeros(places, h.shape[1], dtype=h.dtype).index_add(0, place, self.pooling_norm(h)) / lengths.unsqueeze(1)
        counts = boundary.sum(1)
        document = torch.repeat_interleave(torch.arange(batch), counts)
        within = torch.arange(places) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        concepts = torch.where((within == 0).unsqueeze(1), self.start, self.up(means).roll(1, 0))
        longest = int(counts.max())

        def pad_places(rows):
            padded = rows.new_zeros(batch, longest, *rows.shape[1:])
            return padded.index_put((document, within), rows).transpose(1, 2)

        unpad_places = lambda rows: rows.transpose(1, 2)[document, within]
        z = self.backbone_norm(self.backbone(concepts, longest, pad_places, unpad_places))

        query = pad(self.query_norm(self.cross_query(self.cross_norm(h)).view(-1, self.heads, self.size)))
        key = pad_places(self.key_norm(self.cross_key(z).view(-1, self.kv_heads, self.size)))
        value = pad_places(self.cross_value(z).view(-1, self.kv_heads, self.size))
        visible = torch.arange(longest) < boundary.cumsum(1).unsqueeze(-1)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible.unsqueeze(1), enable_gqa=True)
        h = h + self.cross_output(unpad(mixed).reshape(batch * length, -1))
        return self.norm(self.decoder(h, length, pad, unpad)), scores


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--dlcm", required=True, help="the binary")
    arguments.add_argument("--config", required=True, help="TOML file")
    arguments.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    arguments.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments.add_argument("--repeats", type=int, default=5)
    arguments = arguments.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)

    # The resolved configuration, as dlcm reads it.
    with open(arguments.config, "rb") as file:
        config = tomllib.load(file)
    config["model"].setdefault("kind", "dlcm")
    config.setdefault("parser", {}).setdefault("ratio", 4.0)
    tokens_per_step, context = config["train"]["micro_batch_tokens"], config["train"]["context"]
    batch = tokens_per_step // context

    twin = Twin(config)
    for parameter in twin.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.04)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=1e-5, fused=True)
    tokens = torch.randint(config["model"]["vocabulary"], (batch, context))
    boundary = torch.rand(batch, context) < 1.0 / config["parser"]["ratio"]
    boundary[:, 0] = True
    targets = tokens.roll(-1, 1)
    targets[:, -1] = -100

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.precision == "bf16"):
            hidden, scores = twin(tokens, boundary)
            logits = twin.head(hidden)
        loss = F.cross_entropy(logits.float(), targets.view(-1))
        if scores is not None:
            loss = loss + 0.1 * scores.float().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def of_dlcm():
        command = [arguments.dlcm, "bench", "train", "--json", "--repeats", "1", "--threads", str(arguments.threads),
                   "--config", arguments.config, "--set", f"train.precision={arguments.precision}"]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        return json.loads(output.splitlines()[0])["tokens_per_second"]

    step()
    ours, theirs = [], []
    for round_number in range(arguments.repeats):
        start = time.perf_counter()
        step()
        theirs.append(tokens_per_step / (time.perf_counter() - start))
        ours.append(of_dlcm())
        print(f"round {round_number + 1}: dlcm {ours[-1]:.0f}, eager {theirs[-1]:.0f} tokens/s", file=sys.stderr)
    print(json.dumps({"config": arguments.config, "precision": arguments.precision, "threads": arguments.threads,
                      "parameters": sum(parameter.numel() for parameter in twin.parameters()),
                      "dlcm_tokens_per_second": statistics.median(ours), "eager_tokens_per_second": statistics.median(theirs),
                      "ratio": statistics.median(ours) / statistics.median(theirs)}))


if __name__ == "__main__":
    main()
