//! Words that riscv64's meanings add to those of [`Emit`]: registers by slot, NaN boxes.

use crate::riscv64::decode::Insn;
use crate::riscv64::helpers::Helper;
use crate::riscv64::trap;
use c2w_engine::addr::Width;
use c2w_engine::emit::{Cond, Emit, Slot, VectorInsert, VectorOp};

/// How a meaning ends.
pub(super) type Done<E> = Result<(), <E as Emit>::Stop>;

/// Additional words, for every builder.
pub(super) trait RvEmit: Emit {
    /// Reads a register. A recorder sees x0 as the constant it is.
    #[inline(always)]
    fn x(&mut self, slot: Slot) -> Self::Val {
        if Self::RECORDS && slot == Slot(0) { self.imm(0) } else { self.get(slot) }
    }

    /// Writes a register of which `value` is the low `w` bits, sign-extended.
    #[inline(always)]
    fn set_x(&mut self, rd: Slot, w: Width, value: Self::Val) {
        let value = if w == Width::W64 { value } else { self.sext(w, value) };
        self.set(rd, value);
    }

    /// The immediate of an instruction.
    #[inline(always)]
    fn immediate(&mut self, i: &Insn) -> Self::Val {
        self.imm(i.imm as i64 as u64)
    }

    /// The address that a load or store names.
    #[inline(always)]
    fn address(&mut self, i: &Insn) -> Self::Val {
        let base = self.x(i.rs1);
        let offset = self.immediate(i);
        self.add(Width::W64, base, offset)
    }

    /// Ends the instruction as an illegal one.
    #[inline(always)]
    fn illegal(&mut self, i: &Insn) -> Self::Stop {
        let raw = self.imm(u64::from(i.raw));
        self.trap(trap::ILLEGAL, raw)
    }

    /// Begins a floating-point instruction.
    #[inline(always)]
    fn begin_fp(&mut self, i: &Insn) -> Done<Self> {
        if i.dirties_fp {
            self.helper(Helper::FsDirty.id(), &[])?;
        }
        Ok(())
    }

    /// Reads the number of format `w` in a floating-point register: the canonical NaN where the register holds no
    /// valid NaN box (Unpriv. 21.2).
    #[inline(always)]
    fn unboxed(&mut self, slot: Slot, w: Width) -> Self::Val {
        let value = self.get(slot);
        let Some(nan) = canonical_nan(w) else { return value };
        let least = self.imm(!w.mask());
        let valid = self.compare(Cond::GeU, Width::W64, value, least);
        let low = self.zext(w, value);
        let nan = self.imm(nan);
        self.select(valid, low, nan)
    }

    /// Writes a floating-point register. A recorder writes the pair of slots: what else is said of it names pairs.
    #[inline(always)]
    fn set_f(&mut self, rd: Slot, value: Self::Val) {
        if Self::RECORDS {
            self.vector_insert(VectorInsert::Movq, 0, rd, value);
        } else {
            self.set(rd, value);
        }
    }

    /// Writes the low `w` bits of `value` to a floating-point register, in a NaN box if they are fewer than 64.
    #[inline(always)]
    fn set_boxed(&mut self, rd: Slot, w: Width, value: Self::Val) {
        if Self::RECORDS && w == Width::W32 && self.known(value).is_none() {
            self.set_f(rd, value);
            self.vector(VectorOp::Box32, 0, rd, rd, rd);
        } else {
            let ones = self.imm(!w.mask());
            let boxed = self.or(Width::W64, value, ones);
            self.set_f(rd, boxed);
        }
    }
}

impl<E: Emit> RvEmit for E {}

/// The canonical NaN of the formats narrower than a register (Unpriv. 20.3).
const fn canonical_nan(w: Width) -> Option<u64> {
    match w {
        Width::W16 => Some(0x7e00),
        Width::W32 => Some(0x7fc0_0000),
        _ => None,
    }
}
