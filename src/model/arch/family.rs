//! What architectures differ in. A family is one constant that states its differences from [`Family::LLAMA`].

use crate::kernels::ops::{Activation, RopeStyle, Routing};

/// A family of models that compute alike. Names of tensors and keys are those of GGUF.
pub struct Family {
    /// `general.architecture`
    pub name: &'static str,
    /// Models that people know it by.
    pub models: &'static str,
    /// The optional keys that it computes (see `ModelConfig`).
    pub options: &'static [&'static str],
    /// Every position sees every other, and what comes out are embeddings, not logits.
    pub encoder: bool,
    /// The kind of norm.
    pub norm: NormKind,
    /// Where the norms of a block stand.
    pub norms: Norms,
    /// The norm before the feed-forward layer.
    pub ffn_norm: &'static str,
    /// Whether attention and feed-forward layer stand one behind the other or side by side.
    pub residual: Residual,
    /// Whether query, key and value projections have biases.
    pub qkv_bias: Presence,
    /// Whether the output projection of the attention has one.
    pub attn_output_bias: Presence,
    /// Whether the matrices of the feed-forward layer have them.
    pub ffn_bias: Presence,
    /// Whether the output matrix has one.
    pub output_bias: Presence,
    /// The norm of queries and keys.
    pub qk_norm: QkNorm,
    /// The rotary embedding; none where positions come in otherwise.
    pub rope: Option<RopeStyle>,
    /// The converter to GGUF has turned halves into pairs, so that other containers hold halves.
    pub permuted: bool,
    /// Every so many layers one does not rotate; 0 for none.
    pub unrotated_every: usize,
    /// Base of the rotary embedding in layers with a window, where it is another.
    pub local_rope_base: Option<f64>,
    /// YaRN's borders between frequencies are whole numbers.
    pub yarn_whole: bool,
    /// `position_embd`, added to the token embeddings.
    pub learned_positions: bool,
    /// `token_types`, whose first row is added to them.
    pub token_types: bool,
    /// Every so many layers one has no window, in models that have a window; 0 for none.
    pub global_every: usize,
    /// Models of so many layers scale their scores by 1/√(width per head) and not by 1/√(elements of a head); no key says so.
    pub width_scaled: Option<usize>,
    /// One more score in each softmax: `attn_sinks`.
    pub sinks: bool,
    /// The activation function.
    pub activation: Activation,
    /// Whether it stands between two projections.
    pub gated: bool,
    /// Those two are one matrix.
    pub fused_gate: bool,
    /// The experts of a model that has some; none where the family has no such models.
    pub experts: Option<Mixture>,
    /// Embeddings are multiplied by the square root of their width.
    pub root_scale: bool,
    /// What `logit_scale` does.
    pub logit_scale: LogitScale,
    /// The output matrix.
    pub output: Output,
}

/// Whether a part is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// In every model of the family.
    Always,
    /// In some: the file decides.
    Sometimes,
    /// In none.
    Never,
}

/// The kinds of norms.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// By the root of the mean square, with a weight.
    Rms,
    /// By mean and variance, with weight and bias.
    Layer,
    /// By mean and variance, with a weight.
    LayerUnbiased,
}

/// Where the norms of a block stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Norms {
    /// Before attention and feed-forward layer.
    Before,
    /// Before them, and after them, before what they give is added to the residual stream.
    BeforeAndAfter,
    /// After them, before it is added.
    After,
    /// After it was added: the stream itself is normalised.
    OfStream,
}

/// How attention and feed-forward layer stand to each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// `x += attention(x); x += ffn(x)`
    Sequential,
    /// `x += attention(x) + ffn(x)`
    Parallel,
    /// As the key `use_parallel_residual` says.
    ByKey,
    /// Side by side where there is no norm before the feed-forward layer.
    ByNorm,
}

/// The norms of queries and keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    Never,
    /// RMS, each head by itself.
    Heads,
    /// RMS, all heads together.
    Whole,
    /// Layer norm, each head with weights of its own, where the file has them.
    LayerSometimes,
}

/// How a mixture of experts is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mixture {
    /// How the router's logits become weights.
    pub routing: Routing,
    /// Router and experts have biases.
    pub biases: bool,
    /// One more expert computes for every token.
    pub shared: bool,
}

/// What becomes of the logits by the key `logit_scale`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LogitScale {
    /// They are multiplied.
    Factor,
    /// They are divided.
    Divisor,
}

/// Where the output matrix comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// It is the embedding where the file has no other.
    Either,
    /// It is the embedding.
    Tied,
    /// It is a matrix of its own.
    Own,
}

/// An expert chosen by the softmax over the chosen, without biases.
pub const MIXTURE: Mixture = Mixture { routing: Routing::OverChosen, biases: false, shared: false };

impl Family {
    /// Llama (Touvron et al. 2023, arXiv 2302.13971; GQA: arXiv 2305.13245): RMS norms before attention and a gated feed-forward layer.
    pub const LLAMA: Self = Self {
        name: "llama",
        models: "",
        options: &[],
        encoder: false,
        norm: NormKind::Rms,
        norms: Norms::Before,
        ffn_norm: "ffn_norm",
        residual: Residual::Sequential,
        qkv_bias: Presence::Never,
        attn_output_bias: Presence::Never,
        ffn_bias: Presence::Never,
        output_bias: Presence::Never,
        qk_norm: QkNorm::Never,
        rope: Some(RopeStyle::Halves),
        permuted: false,
        unrotated_every: 0,
        local_rope_base: None,
        yarn_whole: true,
        learned_positions: false,
        token_types: false,
        global_every: 0,
        width_scaled: None,
        sinks: false,
        activation: Activation::Silu,
        gated: true,
        fused_gate: false,
        experts: None,
        root_scale: false,
        logit_scale: LogitScale::Factor,
        output: Output::Either,
    };

    /// GPT-2 and what came before Llama: layer norms, biases, a plain feed-forward layer.
    pub const GPT: Self = Self {
        norm: NormKind::Layer,
        qkv_bias: Presence::Always,
        attn_output_bias: Presence::Always,
        ffn_bias: Presence::Always,
        activation: Activation::Gelu,
        gated: false,
        ..Self::LLAMA
    };
}
