//! The forward pass of every family: blocks of attention and a feed-forward layer around a residual stream (Vaswani et al. 2017,
//! arXiv 1706.03762), with what [`Family`] says of them.

use std::sync::Arc;

use crate::base::{Error, Result};
use crate::kernels::Matrix;
use crate::kernels::ops::{
    Acts, Attention, AttentionRules, Embedding, Epilogue, ExpertViews, FloatView, NormWeights, Product, Program, ProgramBuilder, Rope,
    RotateStore,
};

use super::super::config::ModelConfig;
use super::super::weights::Weights;
use super::family::{Family, LogitScale, Norms, Output};
use super::layer::{FeedForward, Layer, Linear, Loader, Qkv, Shared};
use super::rope;

/// A rotation with the view of its table.
type Rotation = (Arc<Rope>, FloatView);

/// The program in the making, and where its values lie.
struct Forward<'f> {
    b: ProgramBuilder,
    family: &'f Family,
    config: &'f ModelConfig,
    /// The residual stream.
    x: FloatView,
    /// What a block gives before it is normalised and added.
    branch: FloatView,
    qkv: FloatView,
    attended: FloatView,
    inner: FloatView,
    routing: ExpertViews,
    shared: FloatView,
    switch: FloatView,
    rotation: Option<Rotation>,
    local_rotation: Option<Rotation>,
    slopes: Option<Arc<[f32]>>,
}

/// Builds the forward pass, with a pause before each layer.
pub async fn build(family: &Family, config: &mut ModelConfig, weights: &mut Weights<'_>) -> Result<Program> {
    let width = config.embedding_length;
    let vocabulary = weights.rows("token_embd.weight")?;
    let embedding = embedding(family, config, weights, vocabulary)?;
    if let Some(table) = &embedding.positions {
        config.learned_positions = Some(table.rows());
        config.context_length = config.context_length.min(table.rows());
    }
    let config = &*config;
    let mut loader = Loader { family, config, weights };
    let stream_norm = if family.norms == Norms::OfStream { Some(loader.norm("token_embd_norm")?) } else { None };
    let output_norm = if family.encoder { None } else { Some(loader.norm("output_norm")?) };

    let mut forward = Forward::new(family, config, weights)?;
    let table = embedding.table.clone();
    forward.b.embed(embedding, forward.x)?;
    if let Some(norm) = &stream_norm {
        forward.b.norm_floats(forward.x, norm, forward.x)?;
    }
    for index in 0..config.block_count {
        weights.pause().await;
        let layer = Loader { family, config, weights }.layer(index)?;
        forward.block(index, layer)?;
    }
    let Forward { mut b, x, .. } = forward;
    let Some(output_norm) = output_norm else { return b.finish_embeddings(x) };
    let output = match family.output {
        Output::Tied => table,
        Output::Own => weights.matrix("output.weight", vocabulary, width)?,
        Output::Either => weights.optional_matrix("output.weight", vocabulary, width)?.unwrap_or(table),
    };
    let bias = Loader { family, config, weights }.bias("output", vocabulary, family.output_bias)?;
    let normed = b.norm_outputs("output", x, &output_norm, &[&output])?;
    let epilogue = match (config.logit_scale, family.logit_scale, config.final_soft_cap) {
        (None, _, None) => Epilogue::Store,
        (None, _, Some(cap)) => Epilogue::SoftCap(cap),
        (Some(scale), LogitScale::Factor, None) => Epilogue::Scale(scale),
        (Some(scale), LogitScale::Divisor, None) => Epilogue::Scale(1.0 / scale),
        (Some(_), _, Some(_)) => return Err(Error::unsupported("logits that are scaled and capped")),
    };
    b.finish(&normed, &output, bias, epilogue)
}

fn embedding(family: &Family, config: &ModelConfig, weights: &mut Weights<'_>, vocabulary: usize) -> Result<Embedding> {
    let width = config.embedding_length;
    let table = weights.matrix("token_embd.weight", vocabulary, width)?;
    let scale = config.embedding_scale.unwrap_or(if family.root_scale { (width as f32).sqrt() } else { 1.0 });
    let positions = match family.learned_positions {
        true => {
            let rows = weights.rows("position_embd.weight")?;
            Some(weights.matrix("position_embd.weight", rows, width)?)
        }
        false => None,
    };
    // All text is of the first type.
    let constant = if family.token_types { Some(weights.first_row("token_types.weight", width)?) } else { None };
    Ok(Embedding { table, scale, positions, constant })
}

impl<'f> Forward<'f> {
    fn new(family: &'f Family, config: &'f ModelConfig, weights: &mut Weights<'_>) -> Result<Self> {
        let mut b = ProgramBuilder::new(config.kv_shape());
        let (width, kv, used) = (config.embedding_length, config.head_count_kv, config.expert_used_count.max(1));
        let expert = config.expert_feed_forward_length.unwrap_or(config.feed_forward_length);
        let mixture = config.expert_count > 0;
        let inner = b.floats(if mixture { expert * used } else { config.feed_forward_length });
        let shared = if mixture { config.expert_shared_feed_forward_length.unwrap_or(config.feed_forward_length) } else { 0 };
        let has_shared = mixture && family.experts.is_some_and(|mixture| mixture.shared);
        let rotation = |b: &mut ProgramBuilder, rope: Rope| {
            let rope = Arc::new(rope);
            let table = b.rope_table(&rope);
            (rope, table)
        };
        let x = b.floats(width);
        let branch = b.floats(if matches!(family.norms, Norms::BeforeAndAfter | Norms::After) { width } else { 0 });
        let qkv = b.floats(config.query_length() + kv * (config.key_length + config.value_length));
        let attended = b.floats(config.head_count * config.value_length);
        let routing = ExpertViews { logits: b.floats(config.expert_count), routes: b.floats(2 * config.expert_used_count), inner };
        let (shared, switch) = (b.floats(if has_shared { shared } else { 0 }), b.floats(usize::from(has_shared)));
        let (global, local) = match family.rope {
            None => (None, None),
            Some(style) => {
                let style = if family.permuted { weights.rope_style(style) } else { style };
                let global = rope::global(family, style, config, weights)?;
                let base = config.rope_freq_base_swa.or(family.local_rope_base).filter(|_| config.sliding_window.is_some());
                let local = base.map(|base| rope::local(style, config, base));
                (Some(rotation(&mut b, global)), local.map(|local| rotation(&mut b, local)))
            }
        };
        let slopes = config.max_alibi_bias.map(|most| alibi_slopes(config.head_count, most));
        Ok(Self {
            b,
            family,
            config,
            x,
            branch,
            qkv,
            attended,
            inner,
            routing,
            shared,
            switch,
            rotation: global,
            local_rotation: local,
            slopes,
        })
    }

    /// One block.
    fn block(&mut self, index: usize, layer: Layer) -> Result<()> {
        let Layer { attn_norm, qkv, ffn_norm, ffn, parallel, .. } = &layer;
        // A plain feed-forward layer that reads what the attention reads is computed with its projections.
        let joined = match ffn {
            FeedForward::Plain { up, .. } if *parallel && ffn_norm.is_none() => Some(up),
            _ => None,
        };
        let mut readers = readers_of_qkv(qkv);
        if *parallel && ffn_norm.is_none() {
            readers.extend(ffn.readers());
        }
        let normed = self.input("norm", attn_norm.as_ref(), &readers)?;
        let mut projections = self.projections(qkv);
        projections.extend(joined.map(|up| self.activated(up)));
        self.b.matmul(&normed, projections)?;
        if *parallel && joined.is_none() {
            // The feed-forward layer reads the stream before the attention is added to it.
            let normed = match ffn_norm {
                None => normed,
                Some(norm) => self.input("ffn norm", Some(norm), &ffn.readers())?,
            };
            self.feed_forward_inner(&normed, ffn)?;
        }
        self.attention(index, &layer)?;
        let Layer { ffn_norm, ffn, attn_post_norm, attn_output, parallel, .. } = layer;
        let acts = self.b.quantize("attention", self.attended, &[&attn_output.0]);
        self.add_to_stream(&acts, attn_output, attn_post_norm.as_ref())?;
        if !parallel {
            let normed = self.input("norm", ffn_norm.as_ref(), &ffn.readers())?;
            if let FeedForward::Mixture { router, experts, shared } = ffn {
                if layer.ffn_post_norm.is_some() || self.config.residual_scale.is_some() {
                    let what = "experts with a norm after them or a factor on what they add";
                    return Err(Error::unsupported(format!("{what} in architecture '{}'", self.family.name)));
                }
                let mut products = vec![store(router, self.routing.logits)];
                products.extend(shared.iter().map(|shared| store((shared.switch.clone(), None), self.switch)));
                self.b.matmul(&normed, products)?;
                self.b.experts(&normed, self.routing, *experts, self.x)?;
                return shared.map_or(Ok(()), |shared| self.shared_expert(&normed, shared));
            }
            self.feed_forward_inner(&normed, &ffn)?;
        }
        let down = match ffn {
            FeedForward::Plain { down, .. } | FeedForward::Gated { down, .. } => down,
            FeedForward::Mixture { .. } => return Err(Error::unsupported("experts beside the attention")),
        };
        let acts = self.b.quantize("ffn", self.inner, &[&down.0]);
        self.add_to_stream(&acts, down, layer.ffn_post_norm.as_ref())
    }

    /// What a part of the block reads: the stream, normalised where there is a norm before it.
    fn input(&mut self, slot: &'static str, norm: Option<&NormWeights>, readers: &[&Matrix]) -> Result<Acts> {
        match norm {
            Some(norm) => self.b.norm(slot, self.x, norm, readers),
            None => Ok(self.b.quantize(slot, self.x, readers)),
        }
    }

    fn projections(&self, qkv: &Qkv) -> Vec<Product> {
        match qkv {
            Qkv::Fused(all) => vec![store(all.clone(), self.qkv)],
            Qkv::Split(parts) => parts.iter().cloned().zip(self.heads()).map(|(part, view)| store(part, view)).collect(),
        }
    }

    /// Queries, keys and values.
    fn heads(&self) -> [FloatView; 3] {
        let config = self.config;
        let (q, k, v) = (config.query_length(), config.head_count_kv * config.key_length, config.head_count_kv * config.value_length);
        [self.qkv.part(0, q), self.qkv.part(q, k), self.qkv.part(q + k, v)]
    }

    /// `attended = softmax(q·kᵀ)·v` over the cache, after q and k are normalised and rotated.
    fn attention(&mut self, layer: usize, weights: &Layer) -> Result<()> {
        let (family, config, [q, k, v]) = (self.family, self.config, self.heads());
        let every = config.sliding_window_pattern.unwrap_or(family.global_every);
        let global = every > 0 && layer % every == every - 1;
        let window = config.sliding_window.filter(|_| !global);
        let rotation = match window.and(self.local_rotation.as_ref()) {
            Some(local) => Some(local),
            None => self.rotation.as_ref(),
        };
        let rotation = rotation.filter(|_| family.unrotated_every == 0 || !(layer + 1).is_multiple_of(family.unrotated_every));
        let (rope, table) = (rotation.map(|(rope, _)| Arc::clone(rope)), rotation.map(|(_, table)| *table));
        let (q_norm, k_norm) = (weights.q_norm.clone(), weights.k_norm.clone());
        // An encoder's cache has room for one layer.
        let layer = if family.encoder { 0 } else { layer };
        self.b.rotate_store(RotateStore { layer, q, k, v, q_norm, k_norm, rope, table })?;
        let wide = family.width_scaled == Some(config.block_count);
        let per_head = if wide { config.embedding_length / config.head_count } else { config.key_length };
        let scale = config.attention_scale.unwrap_or(1.0 / (per_head as f32).sqrt());
        let rules = AttentionRules {
            window,
            soft_cap: config.attention_soft_cap,
            slopes: self.slopes.clone(),
            sinks: weights.sinks.clone(),
            both_ways: family.encoder,
        };
        self.b.attention(Attention { layer, q, out: self.attended, scale, rules })
    }

    fn activated(&self, (weight, bias): &Linear) -> Product {
        Product { weight: weight.clone(), bias: bias.clone(), out: self.inner, epilogue: Epilogue::Activate(self.family.activation) }
    }

    /// `inner = activation(Wup·x)`, or `activation(Wgate·x) ∘ Wup·x`.
    fn feed_forward_inner(&mut self, normed: &Acts, ffn: &FeedForward) -> Result<()> {
        match ffn {
            FeedForward::Plain { up, .. } => {
                let product = self.activated(up);
                self.b.matmul(normed, vec![product])
            }
            FeedForward::Gated { gate, up, .. } => self.b.gated(normed, gate, up, self.family.activation, self.inner),
            FeedForward::Mixture { .. } => Err(Error::unsupported("experts beside the attention")),
        }
    }

    /// `x += σ(s) · Wdown·(activation(Wgate·normed) ∘ Wup·normed)`
    fn shared_expert(&mut self, normed: &Acts, expert: Shared) -> Result<()> {
        let Shared { gate, up, down, .. } = expert;
        self.b.gated(normed, &gate, &up, self.family.activation, self.shared)?;
        self.b.sigmoid_scale(self.shared, self.switch)?;
        let acts = self.b.quantize("shared expert", self.shared, &[&down]);
        self.b.matmul(&acts, vec![Product { weight: down, bias: None, out: self.x, epilogue: Epilogue::Add }])
    }

    /// `x += W·acts + b`, with the norms and the factor that a family has there.
    fn add_to_stream(&mut self, acts: &Acts, linear: Linear, norm: Option<&NormWeights>) -> Result<()> {
        let (weight, bias) = linear;
        let into = |out, epilogue| vec![Product { weight, bias, out, epilogue }];
        match (norm, self.family.norms, self.config.residual_scale) {
            (None, _, None) => self.b.matmul(acts, into(self.x, Epilogue::Add)),
            (None, _, Some(scale)) => self.b.matmul(acts, into(self.x, Epilogue::AddScaled(scale))),
            (Some(norm), Norms::OfStream, None) => {
                self.b.matmul(acts, into(self.x, Epilogue::Add))?;
                self.b.norm_floats(self.x, norm, self.x)
            }
            (Some(norm), _, None) => {
                self.b.matmul(acts, into(self.branch, Epilogue::Store))?;
                self.b.add_norm(self.branch, norm, self.x)
            }
            (Some(_), _, Some(_)) => Err(Error::unsupported(format!("a residual scale in architecture '{}'", self.family.name))),
        }
    }
}

impl FeedForward {
    /// The matrices that read the layer's input.
    fn readers(&self) -> Vec<&Matrix> {
        match self {
            Self::Plain { up, .. } => vec![&up.0],
            Self::Gated { gate, up, .. } => vec![gate, up],
            Self::Mixture { router, experts, shared } => {
                let shared = shared.iter().flat_map(|shared| [&shared.switch, &shared.gate, &shared.up]);
                [&router.0].into_iter().chain(&experts.gate.weights).chain(&experts.up.weights).chain(shared).collect()
            }
        }
    }
}

fn readers_of_qkv(qkv: &Qkv) -> Vec<&Matrix> {
    match qkv {
        Qkv::Fused(all) => vec![&all.0],
        Qkv::Split(parts) => parts.iter().map(|part| &part.0).collect(),
    }
}

/// `out = W·x + b`
fn store((weight, bias): Linear, out: FloatView) -> Product {
    Product { weight, bias, out, epilogue: Epilogue::Store }
}

/// The slopes of ALiBi: a geometric sequence from `2^(−most/n)` on for n heads, n a power of two; others interleave the sequence of twice as
/// many (Press et al. 2021, arXiv 2108.12409).
fn alibi_slopes(heads: usize, most: f32) -> Arc<[f32]> {
    let whole = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    let slope = |of: usize, step: usize| 2f64.powf(-f64::from(most) * step as f64 / of as f64) as f32;
    (0..heads).map(|head| if head < whole { slope(whole, head + 1) } else { slope(2 * whole, 2 * (head - whole) + 1) }).collect()
}
