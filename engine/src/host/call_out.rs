//! Call-outs of regions, on the shared ones: around each, the vCPU looks as it does to the interpreter in the middle of a
//! block; what needs a look by the run loop makes the countdown negative, and so does what lets other code follow: that is
//! looked up in the jump cache then.

use crate::addr::Gva;
use crate::cpu::{Cpu, host_read, host_write};
use crate::guest::Guest;
use crate::ir::block::{Op, Value};
use crate::ir::vector::{VectorExtract, VectorInsert, VectorOp};
use crate::jit::call_out::{self, Leave};
use crate::lower::calls::{CallOut, Site, VectorSite};
use crate::mem::tlb::Access;
use crate::vcpu::Vcpu;

/// Carries out a call-out with two numbers. `end` is what `retired` will be when nothing is left to count down.
///
/// # Errors
/// The region is to be left; address and countdown are those of the instruction, which has done nothing.
#[inline(always)]
pub(super) fn carry_out<G: Guest>(
    cpu: &mut Cpu<G>,
    end: u64,
    call: CallOut,
    site: Site,
    a: u64,
    b: u64,
) -> Result<u64, Leave> {
    if let Some(result) = mapped(cpu, call, site, a, b) {
        return Ok(result);
    }
    let vcpu = vcpu_of(cpu);
    let [c, d, ..] = vcpu.spill;
    let left = vcpu.countdown.wrapping_add(vcpu.withheld);
    cpu.retired = end.wrapping_sub(left as u64);
    let before = (cpu.fetch_epoch(), cpu.data_context());
    let result = match call {
        CallOut::Helper => G::helper(cpu, site.helper(), [a, b, c, d]).map_err(Leave::from),
        call => call_out::carry_out(cpu, &operation(call, site, b), [a, b, c, d]),
    };
    let changed = (cpu.fetch_epoch(), cpu.data_context()) != before;
    if cpu.ram.has_written_code() {
        cpu.recheck_interrupts();
    }
    if result.is_err() {
        let vcpu = vcpu_of(cpu);
        vcpu.pc = vcpu.page_base.wrapping_add_signed(i64::from(site.at));
        vcpu.countdown += i64::from(site.unretired);
    } else if cpu.needs_look() {
        let vcpu = vcpu_of(cpu);
        withhold(vcpu);
        vcpu.moved = 0;
    } else if changed {
        let tag = cpu.context_tag();
        let vcpu = vcpu_of(cpu);
        withhold(vcpu);
        vcpu.context_tag = tag;
        vcpu.moved = 1;
    }
    result
}

/// What generated code reaches of a vCPU.
pub(super) fn vcpu_of<G: Guest>(cpu: &mut Cpu<G>) -> &mut Vcpu {
    // SAFETY: the memory is this vCPU's for as long as it lives, and the exclusive borrow of it is one of all its parts.
    unsafe { cpu.vcpu().as_mut() }
}

/// Makes a region leave as soon as it can: takes away what it may still retire.
fn withhold(vcpu: &mut Vcpu) {
    if vcpu.countdown >= 0 {
        vcpu.withheld += vcpu.countdown + 1;
        vcpu.countdown = -1;
    }
}

/// Accesses that the TLB allows after all: in the other place of the page, where regions do not look.
#[inline(always)]
fn mapped<G: Guest>(cpu: &mut Cpu<G>, call: CallOut, site: Site, a: u64, b: u64) -> Option<u64> {
    let w = site.width();
    let context = cpu.data_context();
    let mut host = |access| cpu.tlb.lookup_misaligned(context, Gva(a), w, access);
    match call {
        // SAFETY: the TLB holds only pages of `cpu.ram`, which is borrowed exclusively, and the access ends inside its page.
        CallOut::Load => Some(unsafe { host_read(host(Access::Read)?, w) }),
        // SAFETY: as above.
        CallOut::LoadToModify => Some(unsafe { host_read(host(Access::Write)?, w) }),
        CallOut::Store => {
            // SAFETY: as above; a write tag is given only to pages whose writes need no tracking.
            unsafe { host_write(host(Access::Write)?, w, b) };
            Some(0)
        }
        _ => None,
    }
}

/// The operation that a site carries out; its operands are given apart from it.
#[inline(always)]
fn operation(call: CallOut, site: Site, b: u64) -> Op {
    let w = site.width();
    let (addr, value) = (Value(0), Value(0));
    let VectorSite { op: number, imm, slots: [first, second, third] } = VectorSite::decode(b);
    let number = usize::from(number);
    match call {
        CallOut::Load => Op::Load { w, addr },
        CallOut::Store => Op::Store { w, addr, value },
        CallOut::LoadToModify => Op::LoadToModify { w, addr },
        CallOut::CheckCrossingWrite => Op::CheckCrossingWrite { addr, len_bytes: b as u16 },
        CallOut::Amo => Op::Amo { op: site.amo(), w, addr, value },
        CallOut::CompareExchange => Op::CompareExchange { w, addr, expected: value, new: value },
        CallOut::LoadReserved => Op::LoadReserved { w, addr },
        CallOut::StoreConditional => Op::StoreConditional { w, addr, value },
        CallOut::Helper => Op::Fence,
        CallOut::Look => Op::LookIf { cond: value },
        CallOut::VectorLoad => Op::VectorLoad { len_bytes: imm, to: first, addr },
        CallOut::VectorStore => Op::VectorStore { len_bytes: imm, addr, from: first },
        CallOut::Vector => Op::Vector { op: VectorOp::ALL[number], imm, to: first, a: second, b: third },
        CallOut::VectorInsert => Op::VectorInsert { op: VectorInsert::ALL[number], imm, to: first, value },
        CallOut::VectorExtract => Op::VectorExtract { op: VectorExtract::ALL[number], a: first, b: second },
    }
}
