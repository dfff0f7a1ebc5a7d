//! Values that lie far from the others. They are reported, never removed.

use super::percentile::median;

/// The scale of a normal distribution over its median absolute deviation.
const NORMAL: f64 = 1.4826;
/// How many scales from the median a value has to be to count as an outlier.
const FAR: f64 = 3.5;

/// The median distance of the values from their median; `None` without values.
pub fn median_absolute_deviation(values: &[f64]) -> Option<f64> {
    let centre = median(values)?;
    let distances: Vec<f64> = values.iter().map(|value| (value - centre).abs()).collect();
    median(&distances)
}

/// The outliers of a sample.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outliers {
    /// Their places in the sample, ascending.
    pub places: Vec<usize>,
}

impl Outliers {
    /// The values further than 3.5 times 1.4826 median absolute deviations from the median. `None` where that deviation is 0 or there are no
    /// values: there is no scale to measure by.
    pub fn of(values: &[f64]) -> Option<Self> {
        let (centre, scale) = median(values).zip(median_absolute_deviation(values).filter(|&scale| scale > 0.0))?;
        let far = |value: &f64| (value - centre).abs() > FAR * NORMAL * scale;
        Some(Self { places: (0..values.len()).filter(|&place| far(&values[place])).collect() })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_vector() {
        let values = [1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0];
        assert_eq!(median_absolute_deviation(&values), Some(1.0));
        // The bound is 2 + 3.5 · 1.4826 = 7.19.
        assert_eq!(Outliers::of(&values).unwrap().places, [6]);
        assert_eq!(Outliers::of(&[5.0, 5.0, 5.0, 9.0]), None);
        assert_eq!(Outliers::of(&[]), None);
        assert_eq!(Outliers::of(&[1.0, 2.0, 3.0, 4.0]).unwrap().count(), 0);
    }
}
