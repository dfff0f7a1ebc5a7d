"""The same model with its dimensions in another order: the function stays, while every block of a quantised file gets other weights.

How near a quantised file comes to its source depends on the chance of one rounding against another as well as on the encoder. Over many orders
the chance evens out.
"""
import gguf
import numpy as np
import rewriting

# What the rows and the columns of a matrix run over: the embedding, the feed-forward layer, the dimensions of values; None stays.
AXES = {
    "token_embd": (None, "embedding"),
    "output": (None, "embedding"),
    "attn_q": (None, "embedding"),
    "attn_k": (None, "embedding"),
    "attn_v": ("values", "embedding"),
    "attn_output": ("embedding", "outputs"),
    "ffn_gate": ("hidden", "embedding"),
    "ffn_up": ("hidden", "embedding"),
    "ffn_down": ("embedding", "hidden"),
}
NORMS = ["output_norm", "attn_norm", "ffn_norm"]


def orders(reader, rng):
    """For each layer (and None for what belongs to none): the new order of each axis, as indices of the old one."""

    def number(key):
        return reader.fields[f"llama.{key}"].contents()

    heads, groups = number("attention.head_count"), number("attention.head_count_kv")
    key = "llama.attention.value_length"
    size = number("attention.value_length") if key in reader.fields else number("embedding_length") // heads
    embedding = rng.permutation(number("embedding_length"))
    found = {None: {"embedding": embedding}}
    for layer in range(number("block_count")):
        within = [rng.permutation(size) for _ in range(groups)]
        found[layer] = {
            "embedding": embedding,
            "hidden": rng.permutation(number("feed_forward_length")),
            "values": np.concatenate([group * size + order for group, order in enumerate(within)]),
            "outputs": np.concatenate([head * size + within[head * groups // heads] for head in range(heads)]),
        }
    return found


def write(source, target, seed):
    """Writes the GGUF `source`, a Llama in F32 or F16, in the order of `seed`."""
    reader = gguf.GGUFReader(source)
    if reader.fields["general.architecture"].contents() != "llama":
        raise SystemExit("the orders of the dimensions of Llama are known here, of other architectures they are not")
    new = orders(reader, np.random.default_rng(seed))
    writer = rewriting.begun(reader, target)
    for tensor in reader.tensors:
        parts = tensor.name.split(".")
        order, name = new[int(parts[1]) if parts[0] == "blk" else None], parts[-2]
        data = np.array(tensor.data)
        if name in NORMS:
            data = data[order["embedding"]]
        else:
            rows, cols = AXES[name]
            data = data if rows is None else data[order[rows]]
            data = data[:, order[cols]]
        writer.add_tensor(tensor.name, np.ascontiguousarray(data), raw_dtype=tensor.tensor_type)
    rewriting.finish(writer)
