//! Tensors
//!
//! The table of tensors of a model file.

use std::ffi::c_char;

use crate::quant::TensorType;

use super::buffer::{self, Buffer, Out, Versioned, VersionedOut};
use super::call::call;
use super::error::loquat_error;
use super::handle;
use super::model::loquat_model;
use super::status::{LOQUAT_NOT_FOUND, LOQUAT_OK, loquat_status};

/// A tensor of a model file.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct loquat_tensor {
    /// Set by the caller to sizeof(loquat_tensor).
    pub struct_size: u32,
    /// How the elements are stored: the type's number in GGUF files. loquat_tensor_type_name names it.
    pub tensor_type: u32,
    /// The number of dimensions, 1 to 4.
    pub dimensions: u32,
    /// Which of the model's files it lies in, counted from 0.
    pub file: u32,
    /// The dimensions, the contiguous one first: a matrix of r rows and c columns is c, r. 1 past the last dimension.
    pub size: [u64; 4],
    /// Offset of the first byte from the start of that file.
    pub offset: u64,
    /// Number of bytes.
    pub bytes: u64,
}

// SAFETY: repr(C), struct_size first.
unsafe impl Versioned for loquat_tensor {
    const FIRST_SIZE: usize = 64;
}

/// Stores the number of tensors.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_tensor_count(
    model: *const loquat_model,
    count: *mut u64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe {
        call(error, || {
            let count = Out::new(count, "count")?;
            count.set(handle::shared(model)?.tensors().len() as u64);
            Ok(LOQUAT_OK)
        })
    }
}

/// Fills `tensor` with the tensor at `index`, in the order of the file.
///
/// LOQUAT_NOT_FOUND past the last one.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_get_tensor(
    model: *const loquat_model,
    index: u64,
    tensor: *mut loquat_tensor,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = VersionedOut::new(tensor, "tensor")?;
            let model = handle::shared(model)?;
            let Some(tensor) = usize::try_from(index).ok().and_then(|index| model.tensors().get(index)) else {
                return Ok(LOQUAT_NOT_FOUND);
            };
            let mut size = [1; 4];
            size.iter_mut().zip(&tensor.dims).for_each(|(size, dim)| *size = *dim);
            out.set(loquat_tensor {
                struct_size: 0,
                tensor_type: tensor.ty.ggml_id(),
                dimensions: tensor.dims.len() as u32,
                file: tensor.file,
                size,
                offset: tensor.offset,
                bytes: tensor.data.len() as u64,
            });
            Ok(LOQUAT_OK)
        })
    }
}

/// Fills `buffer` with the name of the tensor at `index`.
///
/// LOQUAT_NOT_FOUND past the last one; LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_tensor_name(
    model: *const loquat_model,
    index: u64,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(buffer.cast::<u8>(), capacity, length, "buffer")?;
            let model = handle::shared(model)?;
            let tensor = usize::try_from(index).ok().and_then(|index| model.tensors().get(index));
            tensor.map_or(Ok(LOQUAT_NOT_FOUND), |tensor| out.fill(tensor.name.as_bytes()))
        })
    }
}

/// Stores the index of the tensor with a name.
///
/// LOQUAT_NOT_FOUND.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_find_tensor(
    model: *const loquat_model,
    name: *const c_char,
    name_length: usize,
    index: *mut u64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Out::new(index, "index")?;
            let name = buffer::text(name, name_length, "name")?;
            let model = handle::shared(model)?;
            let Some(index) = model.tensors().iter().position(|tensor| tensor.name == name) else {
                return Ok(LOQUAT_NOT_FOUND);
            };
            out.set(index as u64);
            Ok(LOQUAT_OK)
        })
    }
}

/// Fills `buffer` with the name of a tensor type ("Q4_K").
///
/// LOQUAT_NOT_FOUND for a number that names no type; LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_tensor_type_name(
    tensor_type: u32,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(buffer.cast::<u8>(), capacity, length, "buffer")?;
            TensorType::from_ggml(tensor_type).map_or(Ok(LOQUAT_NOT_FOUND), |ty| out.fill(ty.name().as_bytes()))
        })
    }
}
