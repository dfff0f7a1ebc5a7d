//! Floor 7: the C ABI. The only `extern "C"` of the crate.
//!
//! `include/loquat.h` is generated from these files by `build.rs`, one section per file, in the order of the list in
//! `build.rs`; the doc comments here are the documentation of the header and speak to a C programmer. Below the sections lie three
//! plain layers: [`call`] (panic guard, statuses), [`handle`] (pointers to objects: liveness, exclusive and shared use) and
//! [`buffer`] (slices in, filled buffers and versioned structs out). No engine logic lives here.
#![expect(non_camel_case_types, reason = "the types carry their C names")]

use handle::Opaque;

pub mod batch;
pub mod bench;
pub mod bench_figures;
mod bench_keys;
pub mod bench_options;
pub mod bench_quality;
pub mod bench_roofline;
pub mod bench_subjects;
mod buffer;
mod call;
pub mod chat;
pub mod error;
pub mod estimate;
mod handle;
pub mod host;
pub mod job;
pub mod metadata;
pub mod metrics;
pub mod model;
#[cfg(unix)]
mod own_thread;
pub mod runtime;
pub mod session;
pub mod session_options;
mod settings;
pub mod status;
pub mod stream;
pub mod tensors;
pub mod tokenizer;
pub mod version;

/// The tags of all kinds of handles: no two alike, or one would pass for the other.
const TAGS: [u32; 15] = [
    <batch::loquat_batch as Opaque>::TAG,
    <batch::loquat_batch_options as Opaque>::TAG,
    <bench::loquat_bench as Opaque>::TAG,
    <bench_options::loquat_bench_options as Opaque>::TAG,
    <chat::loquat_chat as Opaque>::TAG,
    <error::loquat_error as Opaque>::TAG,
    <job::loquat_job as Opaque>::TAG,
    <model::loquat_model as Opaque>::TAG,
    <model::loquat_model_options as Opaque>::TAG,
    <runtime::loquat_runtime as Opaque>::TAG,
    <runtime::loquat_runtime_options as Opaque>::TAG,
    <session::loquat_session as Opaque>::TAG,
    <session_options::loquat_session_options as Opaque>::TAG,
    <stream::loquat_stream as Opaque>::TAG,
    <tokenizer::loquat_detokenizer as Opaque>::TAG,
];

const _: () = {
    let mut last = TAGS.len();
    while last > 1 {
        last -= 1;
        let mut other = 0;
        while other < last {
            assert!(TAGS[other] != TAGS[last], "two kinds of handles with one tag");
            other += 1;
        }
    }
};
