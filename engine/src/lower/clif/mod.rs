//! From a region to a function of Cranelift's, for every host that Cranelift knows.
//!
//! `function` walks the blocks; `ops`, `memory`, `vectors` and `floats` write operations, `exits` the ways out. What the code and its
//! host agree on is in [`crate::lower::calls`], but that regions call each other in tail position, by address: a function
//! is given the vCPU and the number of the link cell that it was reached through, of which only the code behind unlinked
//! cells takes notice.

mod exits;
mod floats;
mod function;
mod memory;
mod ops;
mod vectors;

use super::calls::CallOut;
use super::layout::Layout;
use super::links::Plan;
use crate::emit::Slot;
use crate::guest::HelperInfo;
use crate::ir::region::Region;
use cranelift_codegen::ir::{AbiParam, Function, Signature, types};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use function::Lowering;

/// Distances of what code reaches from the vCPU, to which a region has a pointer.
const LAYOUT: Layout = Layout { vcpu: 0, links: 0 };

/// What a call-out returns that has not ended its instruction.
pub const GO_ON: u64 = 0;

/// What regions are lowered for. All addresses are of the process that runs the code.
#[derive(Clone, Debug)]
pub struct Target {
    /// The guest's helpers.
    pub helpers: &'static [HelperInfo],
    /// The guest's floating-point environment.
    pub float_environment: Option<Slot>,
    /// The processor has instructions that round to integers.
    pub rounds: bool,
    /// It has one that multiplies and adds.
    pub fuses: bool,
    /// The first link cell; each is the 8-byte address of a region's code.
    pub links: u64,
    /// By number, functions of the vCPU, the site and two numbers. Each gives its result and, if the region is to be left,
    /// something else than [`GO_ON`].
    pub call_outs: [u64; CallOut::ALL.len()],
    /// Functions of two numbers that give the low and the high half of the product of two polynomials over GF(2).
    pub polynomials: [u64; 2],
}

impl Target {
    /// For functions that call nothing.
    pub fn none() -> Self {
        Self {
            helpers: &[],
            float_environment: None,
            rounds: false,
            fuses: false,
            links: 0,
            call_outs: [0; CallOut::ALL.len()],
            polynomials: [0; 2],
        }
    }
}

/// Signature of a region, and of all code that link cells and the jump cache lead to.
pub fn region_signature() -> Signature {
    let mut signature = Signature::new(CallConv::Tail);
    signature.params.extend([AbiParam::new(types::I64); 2]);
    signature.returns.push(AbiParam::new(types::I32));
    signature
}

/// Writes a region's function, whose signature is [`region_signature`].
///
/// # Panics
/// If the region is empty or lies more than 2 GiB from its page.
pub fn lower(
    function: &mut Function,
    context: &mut FunctionBuilderContext,
    config: TargetFrontendConfig,
    region: &Region,
    target: &Target,
    plan: &Plan,
) {
    let mut lowering = Lowering::new(
        FunctionBuilder::new(function, context),
        config.default_call_conv,
        region,
        target,
        plan,
    );
    lowering.write();
    lowering.build.seal_all_blocks();
    lowering.build.finalize(config);
}
