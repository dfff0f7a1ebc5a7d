"""python3 -m unittest: what table.py makes of values that are known, and of those that are missing."""
import unittest

import lanes
import model_facts
import table

PEAK = {
    "read_gb_s": {"max": 10.0},
    "int8_dot_gmac_s": {"max": 100.0},
    "f32_fma_gmac_s": {"max": 10.0},
    "bf16_dot_gmac_s": None,
}


def facts(unit):
    return model_facts.Facts(tensor_bytes=1e9, macs={unit: 10**9}, output_macs={}, kv_bytes=10**6, attention_macs=0)


def result(ours, theirs, reasons=None):
    values = {"ours": [{"decode_tok_s": v} for v in ours], "llama_cpp": [{"decode_tok_s": v} for v in theirs]}
    return {"condition": table.Speed("decode", "decode_tok_s", 2), "values": values, "reasons": reasons or {}}


class Limits(unittest.TestCase):
    def test_prefill(self):
        self.assertAlmostEqual(model_facts.prefill_limit(facts("int8_dot"), PEAK, 8, 0)["tok_s"], 100)
        self.assertAlmostEqual(model_facts.prefill_limit(facts("bf16_dot"), PEAK, 8, 0)["tok_s"], 10)  # f32 does that work
        for bf16, best in [(4.0, 10), (40.0, 40)]:
            limits = {**PEAK, "bf16_dot_gmac_s": {"max": bf16}}
            self.assertAlmostEqual(model_facts.prefill_limit(facts("bf16_dot"), limits, 8, 0)["tok_s"], best)
        self.assertIsNone(model_facts.prefill_limit(facts("int8_dot"), {}, 8, 0))

    def test_decode(self):
        self.assertAlmostEqual(model_facts.decode_limit(facts("int8_dot"), PEAK, 0, 0, 1, 0)["tok_s"], 10)
        deep = model_facts.decode_limit(facts("int8_dot"), PEAK, 1000, 0, 1, 0)
        self.assertEqual((deep["tok_s"], deep["of"]), (5, "reading"))  # as many bytes of keys and values as of weights
        many = model_facts.decode_limit(facts("int8_dot"), PEAK, 0, 0, 20, 0)
        self.assertEqual((many["tok_s"], many["of"]), (100, "arithmetic"))
        self.assertIsNone(model_facts.decode_limit(facts("int8_dot"), PEAK, 0, 0, 1, 10**9))  # fits into the caches
        self.assertIsNone(model_facts.decode_limit(facts("int8_dot"), {}, 0, 0, 1, 0))


class Figures(unittest.TestCase):
    def test_ratio_and_share(self):
        line = table.figures(result([10.0, 20.0, 30.0], [10.0] * 3), result([40.0] * 3, [20.0] * 3), "decode_tok_s")
        self.assertEqual((line["ratio"]["ratio_median"], line["ratio"]["ratio_min"], line["ratio"]["ratio_max"]), (2, 1, 3))
        self.assertEqual((line["of_base"]["ours"]["median"], line["of_base"]["llama_cpp"]["median"]), (0.5, 0.5))

    def test_missing_is_none(self):
        line = table.figures(result([], [10.0], {"ours": "unknown option"}), None, "decode_tok_s")
        self.assertEqual((line["ours"], line["ratio"], line["of_base"], line["llama_cpp"]["median"]), (None, None, None, 10))
        line = table.figures(result([1.0, None, 3.0], [1.0, 1.0, 1.0]), None, "decode_tok_s")
        self.assertEqual((line["ours"]["samples"], line["ratio"]["ratios"]), ([1, 3], [1, 3]))

    def test_command_lines_name_no_directory(self):
        self.assertEqual(lanes.portable([table.DEMO, "-t", 2]), "models/emberfield-3m-q8_0.gguf -t 2")
        self.assertEqual(lanes.portable(["/somewhere/models/a.gguf"]), "a.gguf")


if __name__ == "__main__":
    unittest.main()
