//! Helpers of instructions on MMX and vector registers. Operands of vectors are passed as those of [`super::float`].

use super::{REGISTERS, helpers};
use crate::x86_64::guest::X86_64;
use crate::x86_64::regs::X87_TAGS;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

helpers! { super::FIRST_VECTOR;
    /// (): marks every x87 register empty.
    Emms = "emms", REGISTERS, emms;
}

fn emms(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    cpu.slots[usize::from(X87_TAGS.0)] = 0;
    Ok(0)
}
