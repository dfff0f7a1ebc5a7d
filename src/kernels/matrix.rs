//! A weight matrix as it lies in the model file.

use std::ops::Range;

use crate::base::{Error, Result, SharedBytes};
use crate::quant::{self, TensorType};

/// `W (rows, cols)`, row-major, in the bytes of its tensor type. Never copied; cheap to clone.
#[derive(Debug, Clone)]
pub struct Matrix {
    ty: TensorType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    data: SharedBytes,
}

impl Matrix {
    /// A view of `data` as `rows` rows of `cols` elements.
    ///
    /// # Errors
    /// `InvalidFile` where `cols` is zero or no multiple of the type's block, or `data` is not exactly the matrix;
    /// `Unsupported` for a type that nothing here can read.
    pub fn new(ty: TensorType, rows: usize, cols: usize, data: SharedBytes) -> Result<Self> {
        if !quant::is_decodable(ty) {
            return Err(Error::unsupported(format!("matrix products with tensor type {}", ty.name())));
        }
        let row_bytes = quant::row_bytes(ty, cols)
            .filter(|&bytes| bytes > 0)
            .ok_or_else(|| Error::invalid_file(format!("rows of {cols} elements are no whole number of {} blocks", ty.name())))?;
        if row_bytes.checked_mul(rows) != Some(data.len()) {
            return Err(Error::invalid_file(format!("{} bytes do not hold {rows} x {cols} elements of {}", data.len(), ty.name())));
        }
        Ok(Self { ty, rows, cols, row_bytes, data })
    }

    /// The tensor type.
    pub fn ty(&self) -> TensorType {
        self.ty
    }

    /// Number of rows: outputs of the product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns: elements of a row, inputs of the product.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Bytes of the whole matrix: what one pass over it reads.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// The bytes of some rows.
    ///
    /// # Panics
    /// Where `rows` reaches outside the matrix.
    pub fn rows_bytes(&self, rows: Range<usize>) -> &[u8] {
        &self.data[rows.start * self.row_bytes..rows.end * self.row_bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_sizes_make_a_matrix() {
        let bytes = SharedBytes::copied(&[0; 34 * 6]);
        let matrix = Matrix::new(TensorType::Q8_0, 3, 64, bytes.clone()).unwrap();
        assert_eq!((matrix.row_bytes(), matrix.bytes()), (68, 204));
        assert_eq!(matrix.rows_bytes(1..3).len(), 136);
        assert!(Matrix::new(TensorType::Q8_0, 3, 63, bytes.clone()).is_err());
        assert!(Matrix::new(TensorType::Q8_0, 3, 0, SharedBytes::copied(&[])).is_err());
        assert!(Matrix::new(TensorType::Q8_0, 2, 64, bytes.clone()).is_err());
        assert!(Matrix::new(TensorType::Q8_0, usize::MAX, 64, bytes).is_err());
    }
}
