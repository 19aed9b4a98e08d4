//! Instructions as text. A compressed instruction reads as the one it stands for.

use super::decode::{DYNAMIC_ROUNDING, Insn};
use super::insns::{Op, ROWS};
use super::names;
use super::table::Operand;
use core::fmt;

impl fmt::Display for Insn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.op == Op::Illegal {
            return write!(out, "illegal {:#x}", self.raw);
        }
        let row = &ROWS[self.op as usize];
        out.write_str(row.name)?;
        if row.operands().contains(&Operand::AqRl) {
            out.write_str(names::ORDERING[usize::from(self.aux & 3)])?;
        }
        let mut separator = " ";
        for &operand in row.operands() {
            if operand == Operand::AqRl || operand == Operand::Rm && self.aux == DYNAMIC_ROUNDING {
                continue;
            }
            out.write_str(separator)?;
            separator = ", ";
            self.write_operand(out, operand)?;
        }
        Ok(())
    }
}

impl Insn {
    fn write_operand(&self, out: &mut fmt::Formatter<'_>, operand: Operand) -> fmt::Result {
        let imm = self.imm;
        match operand {
            Operand::Rd | Operand::Fd => out.write_str(names::register(self.rd)),
            Operand::Rs1 | Operand::Fs1 => out.write_str(names::register(self.rs1)),
            Operand::Rs2 | Operand::Fs2 => out.write_str(names::register(self.rs2)),
            Operand::Fs3 => out.write_str(names::register(self.rs3)),
            Operand::Rm => out.write_str(names::ROUNDING[usize::from(self.aux & 7)]),
            Operand::Imm12 | Operand::Bimm12 | Operand::Jimm20 | Operand::Shamt6 | Operand::Shamt5 => {
                write!(out, "{imm}")
            }
            Operand::Imm20 => write!(out, "{:#x}", imm as u32 >> 12),
            Operand::MemLoad | Operand::MemStore => write!(out, "{imm}({})", names::register(self.rs1)),
            Operand::MemAtomic => write!(out, "({})", names::register(self.rs1)),
            Operand::AqRl => Ok(()),
            Operand::Csr => write!(out, "{:#x}", imm & 0xfff),
            Operand::Zimm5 => write!(out, "{}", imm >> 12),
            Operand::Fence => {
                let sets = imm as u32;
                write!(out, "{}, {}", names::fence_set(sets >> 4), names::fence_set(sets & 15))
            }
            Operand::Constant => out.write_str(&names::constant(imm as usize & 31)),
        }
    }
}
