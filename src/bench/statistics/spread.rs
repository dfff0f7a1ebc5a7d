//! Mean and spread of a sample.

/// The arithmetic mean; `None` without values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample standard deviation, with n − 1; `None` below two values.
pub fn sample_std(values: &[f64]) -> Option<f64> {
    let centre = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// Standard deviation over the magnitude of the mean, as a share (0.05 is 5 %); `None` below two values or with a mean of 0.
pub fn coefficient_of_variation(values: &[f64]) -> Option<f64> {
    let (std, mean) = sample_std(values).zip(mean(values))?;
    (mean != 0.0).then(|| std / mean.abs())
}

/// By how many percent `now` is above `before`; `None` where either is missing or `before` is not above 0.
pub fn increase_pct(before: Option<f64>, now: Option<f64>) -> Option<f64> {
    // By the difference: a growth by exactly a limit in round numbers is not rounded to above it.
    before.filter(|&before| before > 0.0).zip(now).map(|(before, now)| 100.0 * (now - before) / before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_vector() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(mean(&values), Some(5.0));
        assert!((sample_std(&values).unwrap() - (32.0f64 / 7.0).sqrt()).abs() < 1e-15);
        assert!((coefficient_of_variation(&values).unwrap() - (32.0f64 / 7.0).sqrt() / 5.0).abs() < 1e-15);
        assert_eq!((increase_pct(Some(100.0), Some(70.0)), increase_pct(Some(0.0), Some(1.0))), (Some(-30.0), None));
        assert_eq!((mean(&[]), sample_std(&[3.0]), coefficient_of_variation(&[-1.0, 1.0])), (None, None, None));
    }

    #[test]
    fn a_small_spread_on_a_large_offset_does_not_cancel() {
        let offset = 1e9;
        let std = sample_std(&[offset + 4.0, offset + 7.0, offset + 13.0, offset + 16.0]).unwrap();
        assert!((std - 30.0f64.sqrt()).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn shifting_keeps_the_spread_and_scaling_keeps_the_variation(
            values in prop::collection::vec(1.0f64..1e4, 2..100), shift in -1e4f64..1e4, scale in 0.1f64..100.0,
        ) {
            let std = sample_std(&values).unwrap();
            let shifted: Vec<f64> = values.iter().map(|v| v + shift).collect();
            prop_assert!((sample_std(&shifted).unwrap() - std).abs() <= 1e-6 * (1.0 + std));
            let scaled: Vec<f64> = values.iter().map(|v| -v * scale).collect();
            let (one, two) = (coefficient_of_variation(&values).unwrap(), coefficient_of_variation(&scaled).unwrap());
            prop_assert!((one - two).abs() <= 1e-9 * (1.0 + one));
        }
    }
}
