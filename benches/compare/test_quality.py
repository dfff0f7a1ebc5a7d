"""python3 -m unittest: the exact reference and the verdict by it."""
import pathlib
import tempfile
import unittest

import exact
import gguf
import numpy as np
from gguf import GGUFReader, GGUFWriter
from quality import against_exact
from statistic import leads


class F32File(unittest.TestCase):
    def test_values_and_keys(self):
        rng = np.random.default_rng(2)
        vector = rng.standard_normal(64).astype(np.float32)
        # Powers of two and small integers, which Q8_0 holds exactly: more rows than are converted at a time.
        matrix = rng.integers(-127, 128, (exact.ROWS + 3, 64)).astype(np.float32) / 64
        matrix[:, ::32] = 127 / 64
        with tempfile.TemporaryDirectory() as directory:
            source, target = pathlib.Path(directory) / "source.gguf", pathlib.Path(directory) / "target.gguf"
            writer = GGUFWriter(str(source), "llama")
            writer.add_block_count(3)
            writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
            writer.add_array("tokenizer.ggml.tokens", ["a", "ä"])
            writer.add_tensor("norm", vector)
            q8_0 = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor("matrix", gguf.quants.quantize(matrix, q8_0), raw_dtype=q8_0)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            exact.write(source, target)
            reader = GGUFReader(str(target))
            self.assertEqual(reader.fields["general.architecture"].contents(), "llama")
            self.assertEqual(reader.fields["general.file_type"].contents(), 0)
            self.assertEqual(reader.fields["llama.block_count"].contents(), 3)
            self.assertEqual(reader.fields["tokenizer.ggml.tokens"].contents(), ["a", "ä"])
            read = {tensor.name: (tensor.tensor_type, np.array(tensor.data)) for tensor in reader.tensors}
        self.assertEqual(list(read), ["norm", "matrix"])
        for name, values in ("norm", vector), ("matrix", matrix):
            self.assertEqual(read[name][0], gguf.GGMLQuantizationType.F32)
            np.testing.assert_array_equal(read[name][1], values)


class Exact(unittest.TestCase):
    """The verdict against exact logits: equal noise passes, more noise and one clear fault don't."""

    def setUp(self):
        rng = np.random.default_rng(1)
        self.exact = rng.standard_normal((256, 500)).astype(np.float32)
        self.theirs, self.noise = (0.05 * rng.standard_normal(self.exact.shape).astype(np.float32) for _ in range(2))
        self.theirs += self.exact

    def verdict(self, ours):
        return against_exact(self.exact, self.theirs, ours)

    def test_equal_noise_passes(self):
        row = self.verdict(self.exact + self.noise)
        self.assertTrue(row["passed"])
        self.assertEqual(row["faults"], [])
        # Leads of 0.1 do change hands, on both sides: the reason for this verdict.
        self.assertTrue(row["top_1_changed_ours"] and row["top_1_changed_llama_cpp"])
        self.assertFalse(against_exact(self.exact, self.exact, self.exact + self.noise)["passed"])

    def test_more_noise_fails(self):
        self.assertFalse(self.verdict(self.exact + 1.2 * self.noise)["passed"])

    def test_one_clear_fault_fails(self):
        clear = int(leads(self.exact).argmax())
        ours = self.exact + self.noise
        ours[clear, 7] = ours[clear].max() + 0.01
        row = self.verdict(ours)
        self.assertFalse(row["passed"])
        self.assertEqual([position for position, _ in row["faults"]], [clear])


if __name__ == "__main__":
    unittest.main()
