//! Floor 1: counters, histograms, snapshots; JSON and Prometheus text.
