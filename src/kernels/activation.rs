//! How the activations of a product are stored: as they are, as bf16, or quantised to 8 bits per block of 32 or 256.
//!
//! One column is one activation vector of `k` elements. Its parts lie one after the other, each padded with zeros to 64
//! bytes, so that kernels may load whole registers. Who fills a column is `Kernels::quantize`; the arithmetic is defined
//! in `generic::quantize`.

use crate::quant::TensorType;

/// The storage of activations, which follows from the tensor type of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActKind {
    /// `f32[k]`.
    F32,
    /// `bf16 q[k]`, `f32 d`: x = d·q, where d is a power of two that puts the largest magnitude near 2^60.
    Bf16,
    /// Blocks of 32: `i8 q[k]`, `f32 d[k/32]`, `i32 c[k/32]` with c = −128·Σq.
    Q8x32,
    /// Blocks of 256: `i8 q[k]`, `f32 d[k/256]`, `i16 s16[k/16]` and `i16 s32[k/32]`, the sums of 16 and of 32 q, and
    /// `i32 c[k/256]` with c = −128·Σq, `i32 c16[k/16]` with c16 = −32·Σq, and `i32 m[k/256]`, the largest Σ|q| of 16 elements of a block.
    Q8x256,
}

impl ActKind {
    /// The storage that products with weights of `ty` take.
    pub fn for_type(ty: TensorType) -> Self {
        use TensorType::*;
        match ty {
            Q8_0 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | IQ4_NL | MXFP4 => Self::Q8x32,
            Q2_K | Q3_K | Q4_K | Q5_K | Q6_K | IQ1_S | IQ1_M | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS | IQ3_S | IQ4_XS | TQ1_0 | TQ2_0 => {
                Self::Q8x256
            }
            BF16 => Self::Bf16,
            _ => Self::F32,
        }
    }

    /// What a number of elements must be a multiple of: the elements that share a scale of 8-bit values, else 1.
    pub fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::Bf16 => 1,
            Self::Q8x32 => 32,
            Self::Q8x256 => 256,
        }
    }

    /// Bytes of one column of `k` elements, an odd multiple of 64.
    pub fn bytes(self, k: usize) -> usize {
        self.layout(k).bytes
    }

    /// Offsets of the parts of one column of `k` elements.
    pub(crate) fn layout(self, k: usize) -> Layout {
        let pad = |bytes: usize| bytes.next_multiple_of(64);
        let mut layout = match self {
            Self::F32 => Layout { bytes: pad(k * 4), ..Layout::NONE },
            Self::Bf16 => Layout { scales: pad(k * 2), bytes: pad(k * 2) + 64, ..Layout::NONE },
            Self::Q8x32 => {
                let scales = pad(k);
                let sums = scales + pad(k / 32 * 4);
                Layout { scales, sums, bytes: sums + pad(k / 32 * 4), ..Layout::NONE }
            }
            Self::Q8x256 => {
                let scales = pad(k);
                let sums = scales + pad(k / 256 * 4);
                let sums32 = sums + pad(k / 16 * 2);
                let sums256 = sums32 + pad(k / 32 * 2);
                let offsets16 = sums256 + pad(k / 256 * 4);
                let magnitudes = offsets16 + pad(k / 16 * 4);
                Layout { scales, sums, sums32, sums256, offsets16, magnitudes, bytes: magnitudes + pad(k / 256 * 4) }
            }
        };
        // An odd number of lines, so that the same place of many columns is spread over all sets of a cache.
        layout.bytes |= 64;
        layout
    }
}

/// Byte offsets inside one column; the values `q` (or the floats) lie at 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// `f32 d[]`, or `f32 d`.
    pub scales: usize,
    /// `i32 c[]` of Q8x32, `i16 s16[]` of Q8x256.
    pub sums: usize,
    /// `i16 s32[]` of Q8x256.
    pub sums32: usize,
    /// `i32 c[]` of Q8x256.
    pub sums256: usize,
    /// `i32 c16[]` of Q8x256.
    pub offsets16: usize,
    /// `i32 m[]` of Q8x256.
    pub magnitudes: usize,
    /// The whole column.
    pub bytes: usize,
}

impl Layout {
    /// Without any part.
    const NONE: Self = Self { scales: 0, sums: 0, sums32: 0, sums256: 0, offsets16: 0, magnitudes: 0, bytes: 0 };
}

/// Columns of activations, as one matrix product reads them.
#[derive(Debug, Clone, Copy)]
pub struct Acts<'a> {
    /// How each column is stored.
    pub kind: ActKind,
    /// Column `c` starts at byte `c * stride`. Aligned to 64 bytes.
    pub data: &'a [u8],
    /// Bytes from one column to the next: a multiple of 64, at least [`ActKind::bytes`].
    pub stride: usize,
    /// Number of columns, at least 1.
    pub cols: usize,
}

impl<'a> Acts<'a> {
    /// The bytes of column `c`, of `k` elements.
    pub(crate) fn column(&self, c: usize, k: usize) -> &'a [u8] {
        &self.data[c * self.stride..c * self.stride + self.kind.bytes(k)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_padded_to_whole_lines() {
        assert_eq!(ActKind::F32.bytes(17), 128 + 64);
        assert_eq!(ActKind::Bf16.bytes(17), 64 + 64 + 64);
        assert_eq!(ActKind::Q8x32.bytes(32), 64 + 64 + 64);
        assert_eq!(ActKind::Q8x32.bytes(2048), 2048 + 256 + 256 + 64);
        assert_eq!(ActKind::Q8x256.bytes(256), 256 + 7 * 64);
        assert_eq!(ActKind::Q8x256.bytes(2048), 2048 + 64 + 256 + 128 + 64 + 512 + 64);
    }
}
