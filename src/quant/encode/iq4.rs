//! Encoders of the 4-bit types with a table of unequal steps: IQ4_NL and IQ4_XS.

use super::super::iq4::VALUES;
use super::legacy::{pack_nibbles, scaled};
use super::search::{Grid, codes, fit_scales, low_byte, weighted_lanes};
use super::{Blocks, TILE};

/// The sixteen values.
struct Unequal;

/// Value k lies `STEPS[k]` above value k − 1, and what is above `MIDDLES[k]` is nearer to value k + 1 than to value k.
const STEPS: [f32; 15] = between().0;
const MIDDLES: [f32; 15] = between().1;

const fn between() -> ([f32; 15], [f32; 15]) {
    let (mut steps, mut middles) = ([0.0; 15], [0.0; 15]);
    let mut k = 0;
    while k < 15 {
        let (low, high) = (VALUES[k] as f32, VALUES[k + 1] as f32);
        steps[k] = high - low;
        middles[k] = (low + high) / 2.0;
        k += 1;
    }
    (steps, middles)
}

/// The place of each value, counted from −128.
const PLACES: [u8; 256] = {
    let mut places = [0; 256];
    let mut k = 0;
    while k < 16 {
        places[(VALUES[k] as i32 + 128) as usize] = k as u8;
        k += 1;
    }
    places
};

impl Grid for Unequal {
    const TARGETS: &'static [f32] =
        &[-127.0, -113.0, -117.0, -121.0, -124.0, -130.0, -133.0, -136.0, -140.0, -145.0, 113.0, 104.0, 108.0, 117.0, 121.0, 126.0];

    #[inline(always)]
    fn nearest(value: f32) -> f32 {
        let mut nearest = VALUES[0] as f32;
        for k in 0..15 {
            nearest += if value > MIDDLES[k] { STEPS[k] } else { 0.0 };
        }
        nearest
    }

    #[inline(always)]
    fn code(value: f32) -> u8 {
        PLACES[usize::from(low_byte(value + 128.0))]
    }
}

pub(super) struct Iq4Nl;

impl Blocks for Iq4Nl {
    const LEN: usize = 32;
    const BYTES: usize = 18;

    #[inline(always)]
    fn encode(values: &[f32; TILE], importance: Option<&[f32; TILE]>, out: &mut [u8]) {
        let (halves, codes) = scaled::<Unequal>(values, importance);
        for (b, out) in out.as_chunks_mut::<18>().0.iter_mut().enumerate() {
            out[..2].copy_from_slice(&halves[b].to_le_bytes());
            pack_nibbles(&codes[32 * b..], &mut out[2..]);
        }
    }
}

pub(super) struct Iq4Xs;

impl Blocks for Iq4Xs {
    const LEN: usize = 256;
    const BYTES: usize = 136;

    #[inline(always)]
    fn encode(values: &[f32; TILE], importance: Option<&[f32; TILE]>, out: &mut [u8]) {
        let (x, w) = weighted_lanes::<32, 8>(values, importance);
        let found = fit_scales::<Unequal, 32, 8>(&x, &w, (-32.0, 31.0));
        let d = found.d.to_f32();
        let codes = codes::<Unequal, 32, 8>(values, &found.scales.map(|scale| d * scale));
        let mut high = 0u16;
        out[4..8].fill(0);
        for (sub, scale) in found.scales.iter().enumerate() {
            let scale = low_byte(scale + 32.0);
            out[4 + sub / 2] |= (scale & 15) << (4 * (sub % 2));
            high |= u16::from(scale >> 4) << (2 * sub);
            pack_nibbles(&codes[32 * sub..], &mut out[8 + 16 * sub..]);
        }
        out[..2].copy_from_slice(&found.d.to_le_bytes());
        out[2..4].copy_from_slice(&high.to_le_bytes());
    }
}
