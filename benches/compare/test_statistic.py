"""python3 -m unittest: each figure against a value known otherwise, and each gate with a case that must fail."""
import unittest

import numpy as np

from statistic import cosine, geometric_interval, geometric_mean, kl_divergence, lead_movement, leads, log_softmax, median_interval
from statistic import percentile, rms, top_1_disagreements


class Statistic(unittest.TestCase):
    def test_nearest_rank(self):
        values = list(range(1, 101))
        self.assertEqual([percentile(values, p) for p in (1, 50, 99, 99.9, 100)], [1, 50, 99, 100, 100])
        self.assertEqual(percentile([7], 50), 7)
        self.assertIsNone(percentile([], 50))

    def test_median_interval(self):
        self.assertIsNone(median_interval([1.0] * 7))
        low, high = median_interval([float(v) for v in range(101)])
        self.assertTrue(30 < low < 50 < high < 70)

    def test_kl_keeps_small_terms(self):
        # Clipping q at 1e-10 would make this negative; exact: ln(1 + e^30) - ln 2 - 15.
        exact = np.log1p(np.exp(-30.0)) + 30 - np.log(2) - 15
        got = kl_divergence(np.array([[0.0, 0.0]]), np.array([[30.0, 0.0]]))
        self.assertAlmostEqual(got[0], exact, places=12)
        self.assertAlmostEqual(kl_divergence(np.array([[1.0, 2.0]]), np.array([[11.0, 12.0]]))[0], 0, places=15)

    def test_broken_logits_fail(self):
        for bad in (np.nan, np.inf, -np.inf):
            with self.assertRaises(ValueError):
                log_softmax(np.array([0.0, bad]))
        with self.assertRaises(ValueError):
            kl_divergence(np.zeros((1, 2)), np.zeros((2, 2)))
        with self.assertRaises(ValueError):
            cosine(np.zeros((0, 2)), np.zeros((0, 2)))

    def test_cosine(self):
        np.testing.assert_allclose(cosine(np.array([[1.0, 0], [3, 4]]), np.array([[1.0, 1], [6, 8]])), [0.5**0.5, 1])

    def test_top_1_counts_clear_leads_only(self):
        reference = np.array([[1.0, 0, 0], [0, 0.05, 0], [0, 0, 2]])
        other = np.array([[1.0, 0, 0], [1, 0, 0], [0, 3, 2]])
        self.assertEqual(top_1_disagreements(reference, other, 0.1), (2, [(2, 2.0)]))
        self.assertEqual(top_1_disagreements(reference, reference, 0), (3, []))

    def test_geometric_mean_and_its_interval(self):
        self.assertAlmostEqual(geometric_mean([0.5, 2.0, 8.0]), 2.0)
        self.assertIsNone(geometric_interval([1.0] * 7))
        low, high = geometric_interval([0.5, 2.0] * 16)
        self.assertTrue(0.5 < low < 1 < high < 2)

    def test_leads(self):
        exact = np.array([[1.0, 3, 0], [5, 0, 4]])
        np.testing.assert_allclose(leads(exact), [2, 1])
        # Whatever becomes the largest, the lead that counts is the one between exact's two largest.
        np.testing.assert_allclose(lead_movement(exact, np.array([[1.5, 3, 9], [4, 0, 5]])), [0.5, 2])
        self.assertAlmostEqual(rms(np.array([3.0, 4.0], np.float32)), 12.5**0.5)


if __name__ == "__main__":
    unittest.main()
