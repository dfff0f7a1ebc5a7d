//! Looking at a pass from outside: what entered each matrix.

use crate::base::pool::Sequence;
use crate::kernels::activation::Layout;
use crate::kernels::{ActKind, Matrix};

use super::execution::{Bound, Execution};
use super::program::{Acts, FloatView, Op};

/// Is told a weight matrix and an activation vector (k) that it was multiplied with, as the product saw it: where activations are
/// quantised, after that.
pub trait Observer {
    /// One product of `weight` and one column.
    fn saw(&mut self, weight: &Matrix, activations: &[f32]);
}

/// The first operations of a pass.
pub struct UpTo<'a> {
    execution: &'a Execution<'a>,
    end: usize,
}

impl Sequence for UpTo<'_> {
    fn len(&self) -> usize {
        self.end
    }

    fn items(&self, op: usize) -> u32 {
        self.execution.items(op)
    }

    unsafe fn run(&self, op: usize, item: u32, next: Option<u32>, worker: usize) {
        // SAFETY: passed on.
        unsafe { self.execution.run(op, item, next, worker) }
    }
}

impl Execution<'_> {
    /// The pass up to operation `end`, which is not run.
    pub fn up_to(&self, end: usize) -> UpTo<'_> {
        UpTo { execution: self, end: end.min(self.len()) }
    }

    /// Tells `observer` of the products of operation `op`, each column of each. The operation is complete, and none after it has begun.
    pub fn observe(&mut self, op: usize, observer: &mut dyn Observer) {
        let (program, bound) = (self.program, &self.bound);
        match &program.ops[op] {
            Op::Matmul(matmul) => {
                for product in &matmul.products {
                    observe_all(bound, &matmul.acts, &product.weight, observer);
                }
            }
            Op::Gated(gated) => {
                observe_all(bound, &gated.acts, &gated.gate, observer);
                observe_all(bound, &gated.acts, &gated.up, observer);
            }
            Op::ExpertsGated(experts) => {
                for column in 0..bound.columns() {
                    for expert in chosen(bound, experts.routes, column) {
                        for weight in [&experts.gate.weights[expert], &experts.up.weights[expert]] {
                            observer.saw(weight, &activations(bound, &experts.acts, weight, column));
                        }
                    }
                }
            }
            Op::ExpertsDown(experts) => {
                for column in 0..bound.columns() {
                    for (acts, expert) in experts.acts.iter().zip(chosen(bound, experts.routes, column)) {
                        let weight = &experts.down.weights[expert];
                        observer.saw(weight, &activations(bound, acts, weight, column));
                    }
                }
            }
            _ => {}
        }
    }
}

fn observe_all(bound: &Bound<'_>, acts: &Acts, weight: &Matrix, observer: &mut dyn Observer) {
    for column in 0..bound.count(acts.columns) {
        observer.saw(weight, &activations(bound, acts, weight, column));
    }
}

/// The experts that compute in a column.
fn chosen(bound: &Bound<'_>, routes: FloatView, column: usize) -> Vec<usize> {
    // SAFETY: no operation is running, and the one that routes is complete.
    let routes = unsafe { std::slice::from_raw_parts(bound.arena.floats(routes, column), routes.len) };
    routes.chunks_exact(2).map(|slot| slot[0] as usize).collect()
}

/// What `weight` was multiplied with in a column.
fn activations(bound: &Bound<'_>, acts: &Acts, weight: &Matrix, column: usize) -> Vec<f32> {
    let (kind, k) = (ActKind::for_type(weight.ty()), weight.cols());
    // SAFETY: no operation is running; the region holds the column, filled by an operation that is complete.
    let bytes = unsafe { std::slice::from_raw_parts(bound.arena.column(acts.region(kind), column), kind.bytes(k)) };
    decode(kind, bytes, k)
}

/// The values of one column of `k` stored activations.
fn decode(kind: ActKind, bytes: &[u8], k: usize) -> Vec<f32> {
    let Layout { scales, .. } = kind.layout(k);
    let float = |at: usize| f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let value = |i: usize| match kind {
        ActKind::F32 => float(4 * i),
        ActKind::Bf16 => f32::from_bits(u32::from(u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]])) << 16) * float(scales),
        ActKind::Q8x32 | ActKind::Q8x256 => f32::from(bytes[i] as i8) * float(scales + i / kind.block_len() * 4),
    };
    (0..k).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Isa, Kernels};

    #[test]
    fn stored_activations_come_back() {
        let x: Vec<f32> = (0..256).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
        let kernels = Kernels::for_isa(Isa::Portable).unwrap();
        for (kind, most) in [(ActKind::F32, 0.0), (ActKind::Bf16, 0.01), (ActKind::Q8x32, 0.013), (ActKind::Q8x256, 0.013)] {
            let mut column = vec![0; kind.bytes(256)];
            kernels.quantize(kind, &x, &mut column);
            let worst = decode(kind, &column, 256).iter().zip(&x).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= most, "{kind:?}: {worst}");
        }
    }
}
