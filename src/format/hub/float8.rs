//! Eight-bit floats (OCP 8-bit floating point specification, revision 1.0), exactly.

#![forbid(unsafe_code)]

use half::f16;

/// E4M3: four bits of exponent with bias 7, three of mantissa; no infinities, NaN where all bits below the sign are set.
pub(super) fn e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let magnitude = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa * 2f32.powi(-9),
        _ => (8.0 + mantissa) * 2f32.powi(exponent - 10),
    };
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

/// E5M2: the upper half of an F16.
pub(super) fn e5m2(byte: u8) -> f32 {
    f16::from_bits(u16::from(byte) << 8).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_specification() {
        let known = [(0x00, 0.0), (0x01, 2f32.powi(-9)), (0x07, 0.875 * 2f32.powi(-6)), (0x08, 2f32.powi(-6)), (0x38, 1.0), (0x7E, 448.0)];
        for (byte, value) in known {
            assert_eq!((e4m3(byte), e4m3(byte | 0x80)), (value, -value));
        }
        assert!(e4m3(0x7F).is_nan() && e4m3(0xFF).is_nan());
        for (byte, value) in [(0x01, 2f32.powi(-16)), (0x03, 0.75 * 2f32.powi(-14)), (0x04, 2f32.powi(-14)), (0x3C, 1.0), (0x7B, 57344.0)] {
            assert_eq!((e5m2(byte), e5m2(byte | 0x80)), (value, -value));
        }
        assert!(e5m2(0x7C) == f32::INFINITY && e5m2(0x7D).is_nan());
        // Ascending within each sign.
        assert!((0..0x7E).all(|byte| e4m3(byte) < e4m3(byte + 1)) && (0..0x7C).all(|byte| e5m2(byte) < e5m2(byte + 1)));
    }
}
