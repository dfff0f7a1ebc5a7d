//! The scratch memory of a session: every region of a program for a number of columns, and a slot per worker.

use std::sync::Arc;

use crate::base::{AlignedBuf, Error, MemoryBudget, MemoryCategory, Result};
use crate::kernels::Kernels;

use super::execution::worker_bytes;
use super::program::{Columns, FloatView, Program};

/// One 64-byte aligned block with the regions of a program. Exactly sized, allocated once.
pub struct Arena {
    memory: AlignedBuf<u8>,
    offsets: Vec<usize>,
    strides: Vec<usize>,
    worker_offset: usize,
    worker_bytes: usize,
    columns: usize,
    outputs: usize,
    workers: usize,
}

/// Where the parts of an arena lie.
struct Places {
    offsets: Vec<usize>,
    strides: Vec<usize>,
    worker_offset: usize,
    worker_bytes: usize,
    total: usize,
}

impl Places {
    fn new(program: &Program, kernels: Kernels, columns: usize, outputs: usize, workers: usize) -> Result<Self> {
        let too_large = || Error::out_of_memory(format!("scratch for {columns} columns passes the address space"));
        let mut end = 0usize;
        let (mut offsets, mut strides) = (vec![], vec![]);
        for region in &program.regions {
            let count = match region.columns {
                Columns::All => columns,
                Columns::Outputs => outputs,
            };
            offsets.push(end);
            strides.push(region.bytes);
            end = region.bytes.checked_mul(count).and_then(|n| end.checked_add(n)).ok_or_else(too_large)?;
        }
        let worker_bytes = worker_bytes(program, kernels, columns, workers).next_multiple_of(64);
        let total = worker_bytes.checked_mul(workers).and_then(|n| end.checked_add(n)).ok_or_else(too_large)?;
        Ok(Self { offsets, strides, worker_offset: end, worker_bytes, total })
    }
}

impl Arena {
    /// Memory for passes of up to `columns` tokens of which up to `outputs` have their logits computed, on up to `workers` threads.
    ///
    /// # Errors
    /// `OutOfMemory` where the budget or the system has no room for it.
    pub fn new(
        program: &Program,
        kernels: Kernels,
        budget: &Arc<MemoryBudget>,
        columns: usize,
        outputs: usize,
        workers: usize,
    ) -> Result<Self> {
        let Places { offsets, strides, worker_offset, worker_bytes, total } = Places::new(program, kernels, columns, outputs, workers)?;
        let memory = AlignedBuf::zeroed(budget, MemoryCategory::Scratch, total)?;
        Ok(Self { memory, offsets, strides, worker_offset, worker_bytes, columns, outputs, workers })
    }

    /// The bytes that [`new`](Self::new) takes.
    ///
    /// # Errors
    /// `OutOfMemory` where they pass the address space.
    pub fn bytes_for(program: &Program, kernels: Kernels, columns: usize, outputs: usize, workers: usize) -> Result<u64> {
        Ok(Places::new(program, kernels, columns, outputs, workers)?.total as u64)
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.memory.len() as u64
    }

    /// Tokens that fit in one pass.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Output columns that fit in one pass.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Threads that have a scratch slot.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The floats of `view` in column `column`.
    pub fn floats(&self, view: FloatView, column: usize) -> &[f32] {
        let start = self.offsets[view.region] + column * self.strides[view.region] + view.offset * size_of::<f32>();
        let bytes = &self.memory[start..start + view.len * size_of::<f32>()];
        // SAFETY: regions and strides are multiples of 64 bytes in a 64-byte aligned block, so the floats are aligned; all bit patterns
        // are valid floats.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), view.len) }
    }

    /// As [`floats`](Self::floats), to be written.
    pub fn floats_mut(&mut self, view: FloatView, column: usize) -> &mut [f32] {
        let start = self.offsets[view.region] + column * self.strides[view.region] + view.offset * size_of::<f32>();
        let bytes = &mut self.memory[start..start + view.len * size_of::<f32>()];
        // SAFETY: as in floats; &mut self is the only access.
        unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), view.len) }
    }

    pub(super) fn raw(&mut self) -> RawArena<'_> {
        RawArena {
            base: self.memory.as_mut_ptr(),
            offsets: &self.offsets,
            strides: &self.strides,
            worker_offset: self.worker_offset,
            worker_bytes: self.worker_bytes,
        }
    }
}

/// The arena as the operations see it: addresses. Valid while the arena is mutably borrowed by the execution.
#[derive(Clone, Copy)]
pub(super) struct RawArena<'a> {
    base: *mut u8,
    offsets: &'a [usize],
    strides: &'a [usize],
    worker_offset: usize,
    worker_bytes: usize,
}

impl RawArena<'_> {
    /// Start of a region in column `column`.
    ///
    /// # Safety
    /// The column is below the number that the arena was made for.
    pub unsafe fn column(&self, region: usize, column: usize) -> *mut u8 {
        // SAFETY: region and column lie within the block.
        unsafe { self.base.add(self.offsets[region] + column * self.strides[region]) }
    }

    /// Start of a view in column `column`.
    ///
    /// # Safety
    /// As for [`column`](Self::column).
    pub unsafe fn floats(&self, view: FloatView, column: usize) -> *mut f32 {
        // SAFETY: as above; the offset lies within the region.
        unsafe { self.column(view.region, column).cast::<f32>().add(view.offset) }
    }

    /// Floats between two columns of a view.
    pub fn stride(&self, view: FloatView) -> usize {
        self.strides[view.region] / size_of::<f32>()
    }

    /// Bytes between two columns of a region.
    pub fn byte_stride(&self, region: usize) -> usize {
        self.strides[region]
    }

    /// The scratch of a worker.
    ///
    /// # Safety
    /// The number is below the workers that the arena was made for.
    pub unsafe fn worker(&self, worker: usize) -> (*mut u8, usize) {
        // SAFETY: the slots lie within the block.
        (unsafe { self.base.add(self.worker_offset + worker * self.worker_bytes) }, self.worker_bytes)
    }
}
