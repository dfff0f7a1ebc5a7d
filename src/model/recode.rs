//! The tensors of a file in other types: what a load does where the host asks for that. The file stays as it is; what has changed is in private
//! memory.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::mix::{self, Mix};
use crate::base::memory::{Filling, Leaving};
use crate::base::pool::Outcome;
use crate::base::sync::Mutex;
use crate::base::{Error, MemoryBudget, MemoryCategory, Pace, Result, SharedBytes};
use crate::format::{ModelFile, TensorInfo};
use crate::kernels::encode::{Recoded, Recoding};
use crate::quant::TensorType;
use crate::runtime::{Runner, Runtime};

/// How long a run goes on before a deadline that was set meanwhile is looked at.
const SLICE: Duration = Duration::from_millis(50);

/// Bytes of new memory that are made ready at a time.
const READY: usize = 1 << 18;

/// Puts the tensors of `file` into the types of `mix`, on the threads of `runtime`; without one, blank memory of that size takes their place.
///
/// # Errors
/// `Unsupported` for a type that can't be decoded, `InvalidFile` for a value that the new type does not hold, both with the tensor's name;
/// `OutOfMemory`.
pub(super) async fn requantise(
    file: &mut ModelFile,
    mix: Mix,
    budget: &Arc<MemoryBudget>,
    runtime: Option<&Runtime>,
    pace: &Pace,
) -> Result<()> {
    let types = mix::types(&file.metadata, &file.tensors, mix, false)?;
    pace.expect(file.tensors.iter().map(TensorInfo::elements).sum());
    let mut done = 0;
    for (tensor, to) in file.tensors.iter_mut().zip(types) {
        let blank = |len: usize| Ok::<_, Error>(Leaving::blank(budget, MemoryCategory::WeightsPrivate, len, pace.remains())?.into());
        if tensor.ty != to {
            // The old data goes here where nobody else has it: that of a tensor which is made for this alone, or was private.
            let mut recoded = recoded(tensor, to)?;
            let len = recoded.bytes().ok_or_else(|| Error::out_of_memory(format!("tensor '{}' passes the address space", tensor.name)))?;
            tensor.data = match runtime {
                None => blank(len)?,
                Some(runtime) => {
                    recoded.data = tensor.bytes(budget, pace).await?;
                    in_memory(runtime, recoded, len, done, pace).await?
                }
            };
            tensor.ty = to;
        } else if tensor.recipe.is_some() {
            tensor.data = match runtime {
                None => blank(tensor.byte_len())?,
                Some(_) => tensor.bytes(budget, pace).await?,
            };
        }
        tensor.recipe = None;
        pace.give_back().await;
        done += tensor.elements();
        pace.reach(done);
    }
    Ok(())
}

/// `tensor` to be written as `to`, all columns counting alike.
///
/// # Errors
/// `OutOfMemory` where it passes the address space.
pub(crate) fn recoded(tensor: &TensorInfo, to: TensorType) -> Result<Recoded> {
    let number =
        |count: u64| usize::try_from(count).map_err(|_| Error::out_of_memory(format!("tensor '{}': {count} elements", tensor.name)));
    Ok(Recoded {
        name: tensor.name.clone(),
        from: tensor.ty,
        to,
        cols: number(tensor.cols())?,
        rows: number(tensor.rows())?,
        data: tensor.data.clone(),
        importance: vec![],
    })
}

/// The new bytes of a tensor, of which there are `len`.
async fn in_memory(runtime: &Runtime, tensor: Recoded, len: usize, before: u64, pace: &Pace) -> Result<SharedBytes> {
    let mut filling = Filling::new(runtime.budget(), MemoryCategory::WeightsPrivate, len, pace.remains())?;
    while !filling.next(READY).is_empty() {
        pace.spend(READY).await;
    }
    // A piece is copied in some microseconds and took some hundred to be made: nobody waits long for the lock.
    let memory = Mutex::new(filling.finish());
    let sink = |_: usize, at: u64, bytes: &[u8]| {
        memory.lock()[at as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    };
    let stop = || pace.is_cancelled();
    let recoding = Recoding::new(vec![tensor], runtime.kernels(), runtime.budget(), runtime.threads(), &sink, &stop)?;
    recode(&recoding, Runner::new(runtime, 0), before, pace).await?;
    drop(recoding);
    Ok(memory.into_inner().into())
}

/// Carries `recoding` through as a part of a job whose progress counts elements, `before` of which were done before.
///
/// # Errors
/// The first that `recoding` met.
pub(crate) async fn recode(recoding: &Recoding<'_>, mut runner: Runner, before: u64, pace: &Pace) -> Result<()> {
    while runner.run(recoding, pace, SLICE)? == Outcome::Stopped {
        recoding.check()?;
        pace.reach(before + recoding.elements_done());
        pace.spend(usize::MAX).await;
    }
    recoding.check()?;
    // A run that was given up has ended early, and must not be taken for a whole one.
    if pace.is_cancelled() {
        pace.spend(usize::MAX).await;
        return Err(Error::internal("a job that was cancelled went on"));
    }
    pace.reach(before + recoding.elements_done());
    Ok(())
}
