//! Vectors whose memory may be refused: what counts from files are taken into.

use super::{Error, Result};

/// An empty vector with room for `count` of `what`.
///
/// # Errors
/// `OutOfMemory`.
pub fn with_capacity<T>(count: usize, what: &str) -> Result<Vec<T>> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(count).map_err(|_| Error::out_of_memory(format!("no memory for {count} {what}")))?;
    Ok(vec)
}

/// So many zeros.
///
/// # Errors
/// `OutOfMemory`.
pub fn zeros(count: usize) -> Result<Vec<f32>> {
    let mut values = with_capacity(count, "floats")?;
    values.resize(count, 0.0);
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ErrorKind;

    #[test]
    fn what_there_is_no_memory_for_is_named() {
        assert_eq!(zeros(3).unwrap(), [0.0; 3]);
        let error = with_capacity::<u64>(usize::MAX / 16, "places").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        assert!(error.message().ends_with("places"), "{error}");
    }
}
