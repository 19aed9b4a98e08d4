//! Call-outs: what generated code asks of the run time, as the interpreter does it where its own quick path ends.
//!
//! Around each, the vCPU looks as it does to the interpreter in the middle of a block; what needs a look by the run loop
//! makes the countdown negative. A store that would overwrite code is not made: the interpreter makes it, which knows
//! what may still run afterwards.

use crate::addr::Gva;
use crate::cpu::Cpu;
use crate::guest::{Guest, Trap};
use crate::ir::eval;
use crate::lower::wasm::abi::{CallOut, Site};

/// Why generated code cannot go on with an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The instruction ends with a guest exception.
    Trap(Trap),
    /// The interpreter is to carry the instruction out.
    Interpret,
}

impl From<Trap> for Stop {
    fn from(trap: Trap) -> Self {
        Self::Trap(trap)
    }
}

/// Carries out a call-out with two numbers. `horizon` is what `retired` will be when nothing is left to count down.
///
/// # Errors
/// The instruction cannot go on; address and countdown are those before it.
#[inline(always)]
pub fn carry_out<G: Guest>(
    cpu: &mut Cpu<G>,
    horizon: u64,
    call: CallOut,
    site: Site,
    a: u64,
    b: u64,
) -> Result<u64, Stop> {
    let vcpu = cpu.vcpu_mut();
    let left = vcpu.countdown.wrapping_add(vcpu.withheld);
    cpu.retired = horizon.wrapping_sub(left as u64);
    let result = work(cpu, call, site, a, b);
    if cpu.ram.has_written_code() {
        cpu.recheck_interrupts();
    }
    if result.is_err() {
        let vcpu = cpu.vcpu_mut();
        vcpu.pc = vcpu.page_base.wrapping_add_signed(i64::from(site.at));
        vcpu.countdown += i64::from(site.unretired);
    } else if cpu.needs_look() {
        cpu.vcpu_mut().withhold();
    }
    result
}

#[inline(always)]
fn work<G: Guest>(cpu: &mut Cpu<G>, call: CallOut, site: Site, a: u64, b: u64) -> Result<u64, Stop> {
    let w = site.width();
    let gva = Gva(a);
    Ok(match call {
        CallOut::Load => cpu.load(gva, w)?,
        CallOut::Store => {
            if !cpu.store_unless_code(gva, w, b)? {
                return Err(Stop::Interpret);
            }
            0
        }
        CallOut::LoadToModify => cpu.load_to_modify(gva, w)?,
        CallOut::CheckCrossingWrite => {
            cpu.check_crossing_write(gva, b)?;
            0
        }
        CallOut::Amo => modify(cpu, gva, site, |old| eval::amo(site.amo(), w, old, b))?,
        CallOut::CompareExchange => {
            let new = cpu.vcpu_mut().spill[0];
            modify(cpu, gva, site, |old| if old == b & w.mask() { new } else { old })?
        }
        CallOut::LoadReserved => cpu.load_reserved(gva, w)?,
        CallOut::StoreConditional => {
            if cpu.reservation_is_code() {
                return Err(Stop::Interpret);
            }
            cpu.store_conditional(gva, w, b)?
        }
        CallOut::Helper => {
            let [c, d, ..] = cpu.vcpu_mut().spill;
            G::helper(cpu, site.helper(), [a, b, c, d])?
        }
    })
}

fn modify<G: Guest>(cpu: &mut Cpu<G>, gva: Gva, site: Site, f: impl FnOnce(u64) -> u64) -> Result<u64, Stop> {
    let w = site.width();
    let old = cpu.atomic_read(gva, w)?;
    if cpu.store_unless_code(gva, w, f(old))? { Ok(old) } else { Err(Stop::Interpret) }
}
