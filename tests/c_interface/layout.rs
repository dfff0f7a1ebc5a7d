//! The layout of the structs of the C interface as Rust sees it, to be compared with C's.

use std::fmt::Write as _;
use std::mem::offset_of;

use loquat::ffi::batch::loquat_batch_event;
use loquat::ffi::bench::loquat_bench_outcome;
use loquat::ffi::bench_figures::{
    loquat_bench_convoy, loquat_bench_ratio, loquat_bench_saturation, loquat_bench_series, loquat_bench_summary,
};
use loquat::ffi::bench_quality::{loquat_bench_cold_start, loquat_bench_quality};
use loquat::ffi::bench_roofline::{loquat_bench_roof_point, loquat_bench_roofline};
use loquat::ffi::estimate::loquat_estimate;
use loquat::ffi::job::loquat_job_progress;
use loquat::ffi::metrics::{loquat_latency, loquat_runtime_metrics, loquat_session_metrics};
use loquat::ffi::model::{loquat_model_info, loquat_prefix_cache};
use loquat::ffi::quantize::loquat_quantized;
use loquat::ffi::runtime::loquat_memory;
use loquat::ffi::session::loquat_event;
use loquat::ffi::tensors::loquat_tensor;

/// The size of the field that `_get` reaches.
fn size_of_field<T, F>(_get: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// Writes one struct: its size, then offset and size of each field.
macro_rules! layout {
    ($text:ident, $name:ident { $($field:ident),* $(,)? }) => {
        writeln!($text, "{} {}", stringify!($name), size_of::<$name>()).unwrap();
        $({
            let size = size_of_field(|value: &$name| &value.$field);
            writeln!($text, "{}.{} {} {size}", stringify!($name), stringify!($field), offset_of!($name, $field)).unwrap();
        })*
    };
}

/// All structs, in the order of the header.
pub fn in_rust() -> String {
    let mut text = String::new();
    layout!(
        text,
        loquat_memory {
            struct_size,
            reserved,
            weights_mapped,
            weights_private,
            kv_cache,
            scratch,
            other,
            private_total,
            private_peak,
            limit
        }
    );
    layout!(
        text,
        loquat_model_info {
            struct_size,
            vocab_size,
            context_length,
            layers,
            embedding_length,
            heads,
            kv_heads,
            bos_token,
            eos_token,
            has_weights,
            parameters,
            tensor_bytes
        }
    );
    layout!(text, loquat_prefix_cache { struct_size, reserved, bytes, limit, reused_tokens, pages, evicted_pages });
    layout!(text, loquat_job_progress { struct_size, state, progress, reserved, stage, held_bytes });
    layout!(text, loquat_tensor { struct_size, tensor_type, dimensions, file, size, offset, bytes });
    layout!(
        text,
        loquat_estimate {
            struct_size,
            fits,
            weights_mapped,
            weights_private,
            tables,
            session_kv_cache,
            session_scratch,
            session_other,
            private_total,
            available
        }
    );
    layout!(text, loquat_event { struct_size, token, text, text_length, reason, position, progress, reserved });
    layout!(
        text,
        loquat_batch_event {
            struct_size,
            status,
            session,
            user_data,
            text,
            text_length,
            message,
            message_length,
            token,
            reason,
            position,
            reserved
        }
    );
    layout!(
        text,
        loquat_session_metrics {
            struct_size,
            reserved,
            prompt_tokens,
            generated_tokens,
            prefill_ns,
            decode_ns,
            prefill_tokens_per_s,
            decode_tokens_per_s,
            last_ttft_ns,
            steps,
            pending_steps,
            cancellations,
            errors,
            kv_capacity_bytes,
            kv_used_bytes,
            scratch_bytes
        }
    );
    layout!(
        text,
        loquat_latency {
            struct_size,
            resolved,
            count,
            sum_ns,
            min_ns,
            max_ns,
            mean_ns,
            std_ns,
            cv_pct,
            p50_ns,
            p95_ns,
            p99_ns,
            p999_ns,
            overflow
        }
    );
    layout!(
        text,
        loquat_runtime_metrics {
            struct_size,
            threads,
            elapsed_ns,
            sessions_alive,
            sessions_created,
            models_alive,
            models_loaded,
            dispatches,
            dispatches_per_s,
            prompt_tokens,
            generated_tokens,
            prefill_ns,
            decode_ns,
            prefill_tokens_per_s,
            decode_tokens_per_s,
            last_ttft_ns,
            steps,
            pending_steps,
            cancellations,
            errors,
            kv_capacity_bytes,
            kv_used_bytes,
            scratch_bytes
        }
    );
    layout!(text, loquat_quantized { struct_size, reserved, tensors, changed, bytes_before, bytes_after, importance_tokens });
    layout!(text, loquat_bench_outcome { struct_size, kind, verdict, schema_version });
    layout!(
        text,
        loquat_bench_summary {
            struct_size,
            converged,
            stop_reason,
            iterations,
            tokens_generated,
            cv,
            half_width_share,
            model_load_ms,
            first_pass_ms,
            kv_cache_waste_pct,
            kv_cache_waste_max_pct,
            itl_jitter_ms,
            itl_mad_ms,
            itl_stalls,
            cold_start_ms,
            peak_memory_mb,
            energy_joules,
            energy_net_joules,
            token_joules,
            file_in_memory_share,
            temperature_max_c,
            temperatures_valid,
            reserved
        }
    );
    layout!(text, loquat_bench_series { struct_size, resolved, count, median, median_low, median_high, p95, p99, p999, max, mean, std });
    layout!(
        text,
        loquat_bench_convoy {
            struct_size,
            passed,
            baseline_short_p99_ms,
            convoy_short_p99_ms,
            p99_increase_pct,
            p99_ratio_low,
            p99_ratio_high,
            max_hol_blocking_ms,
            avg_hol_blocking_ms,
            kv_fragmentation_pct,
            long_ttft_p50_ms,
            long_itl_p50_ms
        }
    );
    layout!(
        text,
        loquat_bench_saturation {
            struct_size,
            passed,
            burning_threads,
            starved,
            alone_tok_s,
            saturated_tok_s,
            throughput_loss_pct,
            alone_p99_ms,
            saturated_p99_ms,
            p99_increase_pct
        }
    );
    layout!(text, loquat_bench_ratio { struct_size, equal, length, ratio, low, high });
    layout!(
        text,
        loquat_bench_roofline {
            struct_size,
            threads,
            memory_block_bytes,
            memory_gb_s,
            weights_gb_s,
            int8_gop_s,
            f32_gop_s,
            bf16_gop_s,
            token_bytes,
            token_operations,
            ridge,
            fusion_ratio,
            fusion_ratio_low,
            fusion_ratio_high
        }
    );
    layout!(
        text,
        loquat_bench_roof_point { struct_size, prefill, tokens, bound_by_arithmetic, tok_s, ceiling_tok_s, intensity, gb_s, gop_s }
    );
    layout!(
        text,
        loquat_bench_quality {
            struct_size,
            windows,
            positions,
            reference_perplexity,
            perplexity,
            perplexity_ratio_low,
            perplexity_ratio_high,
            kl_mean,
            kl_median,
            kl_p99,
            kl_max,
            top_1_agreement,
            top_5_agreement,
            greedy_agreement_least,
            continuations
        }
    );
    layout!(
        text,
        loquat_bench_cold_start {
            struct_size,
            starts,
            page_cache_held,
            reserved,
            median_ms,
            median_low_ms,
            median_high_ms,
            min_ms,
            max_ms
        }
    );
    text
}
