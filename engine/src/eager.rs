//! The interpreter: [`Emit`] over live state. Every instruction meaning runs at once over pre-decoded code.
//!
//! Precise state at a fault needs no undo: accesses precede register writes in every lift, and the address of
//! an instruction is computed only when something asks for it.

use crate::addr::{Gva, Width};
use crate::cpu::{Cpu, host_read, host_write};
use crate::emit::{Amo, Binary, Cond, Emit, Slot, Unary, VectorExtract, VectorInsert, VectorOp};
use crate::guest::{Guest, HelperId, Trap, TrapCause};
use crate::ir::block::Block;
use crate::ir::eval;
use crate::ir::replay::Replay;
use crate::ir::vector::Vector;
use crate::mem::tlb::Access;

/// An instruction stopped; the trap is in the [`Eager`].
#[derive(Debug)]
pub struct Stopped;

/// How a block ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockEnd {
    /// Execution continues at the address.
    Next(Gva),
    /// Instruction number `index` of the block trapped; it and those after it did not retire.
    Trapped {
        /// Position in the block.
        index: usize,
        /// The trap.
        trap: Trap,
    },
    /// Stopped after `count` instructions, because code was overwritten; execution continues at the address.
    Cut {
        /// Instructions that retired.
        count: usize,
        /// Where to continue.
        next: Gva,
    },
}

/// The interpreter's view of one running block.
pub struct Eager<'a, G: Guest> {
    cpu: &'a mut Cpu<G>,
    /// What is left to run ends here; shortened when a store overwrites code.
    insns: &'a [G::Insn],
    /// Byte offset of each instruction from the start of the block.
    offsets: &'a [u16],
    block_pc: u64,
    next_pc: u64,
    index: usize,
    trap: Trap,
}

/// Runs a block from its first instruction. `len_bytes` is the length of its code.
pub fn run_block<G: Guest>(
    cpu: &mut Cpu<G>,
    block_pc: Gva,
    len_bytes: u64,
    insns: &[G::Insn],
    offsets: &[u16],
) -> BlockEnd {
    let mut e = Eager {
        cpu,
        insns,
        offsets,
        block_pc: block_pc.0,
        next_pc: block_pc.0.wrapping_add(len_bytes),
        index: 0,
        trap: Trap::new(TrapCause(0), 0),
    };
    let mut index = 0;
    while let Some(insn) = e.insns.get(index) {
        e.index = index;
        if G::lift(&mut e, insn).is_err() {
            return BlockEnd::Trapped { index, trap: e.trap };
        }
        index += 1;
    }
    match e.offsets.get(index) {
        None => BlockEnd::Next(Gva(e.next_pc)),
        Some(&offset) => BlockEnd::Cut { count: index, next: block_pc.offset(offset as u64) },
    }
}

/// Runs recorded IR from its first instruction, with the effect that [`run_block`] has on what it was recorded from:
/// the reference for every lowering.
pub fn run_ir<G: Guest>(cpu: &mut Cpu<G>, block_pc: Gva, block: &Block) -> BlockEnd {
    let offsets: Vec<u16> = block.ops.iter().filter_map(|op| op.insn_offset()).collect();
    let mut e = Eager {
        cpu,
        insns: &[],
        offsets: &offsets,
        block_pc: block_pc.0,
        next_pc: block_pc.0.wrapping_add(u64::from(block.len_bytes)),
        index: 0,
        trap: Trap::new(TrapCause(0), 0),
    };
    let mut replay = Replay::new(block);
    while replay.next_insn().is_some() {
        if replay.insn(&mut e).is_err() {
            return BlockEnd::Trapped { index: e.index, trap: e.trap };
        }
        e.index += 1;
        if let Some(&offset) = offsets.get(e.index)
            && e.cpu.ram.has_written_code()
        {
            return BlockEnd::Cut { count: e.index, next: block_pc.offset(u64::from(offset)) };
        }
    }
    BlockEnd::Next(Gva(e.next_pc))
}

/// Says words outside of a block: a helper computes with the same functions as lifts. They may not ask for the pc.
pub fn with_words<G: Guest, R>(cpu: &mut Cpu<G>, say: impl FnOnce(&mut Eager<'_, G>) -> R) -> R {
    let trap = Trap::new(TrapCause(0), 0);
    say(&mut Eager { cpu, insns: &[], offsets: &[], block_pc: 0, next_pc: 0, index: 0, trap })
}

impl<G: Guest> Eager<'_, G> {
    #[cold]
    #[inline(never)]
    fn stop(&mut self, trap: Trap) -> Stopped {
        self.trap = trap;
        Stopped
    }

    #[inline(always)]
    fn or_stop<T>(&mut self, result: Result<T, Trap>) -> Result<T, Stopped> {
        result.map_err(|trap| self.stop(trap))
    }

    #[cold]
    #[inline(never)]
    fn slow_load(&mut self, w: Width, addr: u64) -> Result<u64, Stopped> {
        let result = self.cpu.load(Gva(addr), w);
        // A device may write memory when it is read, a walk writes page tables.
        self.after_write();
        self.or_stop(result)
    }

    #[cold]
    #[inline(never)]
    fn slow_load_to_modify(&mut self, w: Width, addr: u64) -> Result<u64, Stopped> {
        let result = self.cpu.load_to_modify(Gva(addr), w);
        self.after_write();
        self.or_stop(result)
    }

    #[cold]
    #[inline(never)]
    fn slow_check_crossing_write(&mut self, addr: u64, len_bytes: u16) -> Result<(), Stopped> {
        let result = self.cpu.check_crossing_write(Gva(addr), u64::from(len_bytes));
        self.after_write();
        self.or_stop(result)
    }

    #[cold]
    #[inline(never)]
    fn slow_store(&mut self, w: Width, addr: u64, value: u64) -> Result<(), Stopped> {
        let result = self.cpu.store(Gva(addr), w, value);
        self.after_write();
        self.or_stop(result)
    }

    #[cold]
    #[inline(never)]
    fn slow_vector_load(&mut self, len_bytes: u8, addr: u64) -> Result<Vector, Stopped> {
        let result = self.cpu.load_vector(Gva(addr), len_bytes);
        self.after_write();
        self.or_stop(result)
    }

    #[cold]
    #[inline(never)]
    fn slow_vector_store(&mut self, len_bytes: u8, addr: u64, value: Vector) -> Result<(), Stopped> {
        let result = self.cpu.store_vector(Gva(addr), len_bytes, value);
        self.after_write();
        self.or_stop(result)
    }

    /// Code that was overwritten must not run: the block ends after this instruction.
    #[inline]
    fn after_write(&mut self) {
        if self.cpu.ram.has_written_code() {
            self.cpu.recheck_interrupts();
            self.insns = self.insns.get(..=self.index).unwrap_or(self.insns);
        }
    }

    /// Host address for an aligned access that hits the TLB.
    #[inline(always)]
    fn host(&mut self, w: Width, addr: u64, access: Access) -> Option<u64> {
        let context = self.cpu.data_context();
        self.cpu.tlb.lookup(context, Gva(addr), w, access)
    }

    /// Host address for an access of any alignment that hits the TLB inside of one page.
    #[inline(always)]
    fn host_bytes(&mut self, len_bytes: u8, addr: u64, access: Access) -> Option<u64> {
        let gva = Gva(addr);
        if u64::from(len_bytes) > gva.bytes_to_page_end() {
            return None;
        }
        let context = self.cpu.data_context();
        let page = self.cpu.tlb.lookup(context, gva.page_start(), Width::W8, access)?;
        Some(page + gva.page_offset())
    }

    /// Read-modify-write of memory; `f` gives what to write from what was read.
    ///
    /// Guest atomics are plain host accesses: one vCPU runs, and devices access RAM only while it does not.
    #[inline(always)]
    fn modify(&mut self, w: Width, addr: u64, f: impl FnOnce(u64) -> u64) -> Result<u64, Stopped> {
        if let Some(host) = self.host(w, addr, Access::Write) {
            // SAFETY: a TLB hit is an address inside one page of guest RAM; the exclusive borrow of the vCPU
            // that owns the RAM keeps every other access out.
            return Ok(unsafe {
                let old = host_read(host, w);
                host_write(host, w, f(old));
                old
            });
        }
        let result = self.slow_modify(w, Gva(addr), f);
        self.after_write();
        self.or_stop(result)
    }

    #[cold]
    fn slow_modify(&mut self, w: Width, addr: Gva, f: impl FnOnce(u64) -> u64) -> Result<u64, Trap> {
        // Both pages of a crossing access are checked before either is touched, and nothing else runs in between.
        let old = self.cpu.atomic_read(addr, w)?;
        self.cpu.store(addr, w, f(old))?;
        Ok(old)
    }
}

impl<G: Guest> Emit for Eager<'_, G> {
    type Val = u64;
    type Stop = Stopped;
    const RECORDS: bool = false;

    #[inline(always)]
    fn known(&self, value: u64) -> Option<u64> {
        Some(value)
    }

    #[inline(always)]
    fn imm(&mut self, value: u64) -> u64 {
        value
    }

    #[inline(always)]
    fn get(&mut self, slot: Slot) -> u64 {
        self.cpu.slots[slot.0 as usize]
    }

    #[inline(always)]
    fn set(&mut self, slot: Slot, value: u64) {
        self.cpu.slots[slot.0 as usize] = value;
    }

    #[inline(always)]
    fn pc(&mut self) -> u64 {
        self.block_pc.wrapping_add(self.offsets[self.index] as u64)
    }

    #[inline(always)]
    fn binary(&mut self, op: Binary, w: Width, a: u64, b: u64) -> u64 {
        eval::binary(op, w, a, b)
    }

    #[inline(always)]
    fn unary(&mut self, op: Unary, w: Width, a: u64) -> u64 {
        eval::unary(op, w, a)
    }

    #[inline(always)]
    fn compare(&mut self, cond: Cond, w: Width, a: u64, b: u64) -> u64 {
        eval::compare(cond, w, a, b) as u64
    }

    #[inline(always)]
    fn select(&mut self, cond: u64, a: u64, b: u64) -> u64 {
        if cond != 0 { a } else { b }
    }

    #[inline(always)]
    fn load(&mut self, w: Width, addr: u64) -> Result<u64, Stopped> {
        match self.host(w, addr, Access::Read) {
            // SAFETY: a TLB hit is an address inside one page of guest RAM; the exclusive borrow of the vCPU
            // that owns the RAM keeps every other access out.
            Some(host) => Ok(unsafe { host_read(host, w) }),
            None => self.slow_load(w, addr),
        }
    }

    #[inline(always)]
    fn load_to_modify(&mut self, w: Width, addr: u64) -> Result<u64, Stopped> {
        match self.host(w, addr, Access::Write) {
            // SAFETY: as in `load`.
            Some(host) => Ok(unsafe { host_read(host, w) }),
            None => self.slow_load_to_modify(w, addr),
        }
    }

    #[inline(always)]
    fn check_crossing_write(&mut self, addr: u64, len_bytes: u16) -> Result<(), Stopped> {
        if u64::from(len_bytes) <= Gva(addr).bytes_to_page_end() {
            return Ok(());
        }
        self.slow_check_crossing_write(addr, len_bytes)
    }

    #[inline(always)]
    fn store(&mut self, w: Width, addr: u64, value: u64) -> Result<(), Stopped> {
        match self.host(w, addr, Access::Write) {
            Some(host) => {
                // SAFETY: as in `load`; a write tag is given only to pages whose writes need no tracking.
                unsafe { host_write(host, w, value) };
                Ok(())
            }
            None => self.slow_store(w, addr, value),
        }
    }

    #[inline(always)]
    fn amo(&mut self, op: Amo, w: Width, addr: u64, value: u64) -> Result<u64, Stopped> {
        self.modify(w, addr, |old| eval::amo(op, w, old, value))
    }

    #[inline(always)]
    fn compare_exchange(&mut self, w: Width, addr: u64, expected: u64, new: u64) -> Result<u64, Stopped> {
        self.modify(w, addr, |old| if old == expected & w.mask() { new } else { old })
    }

    #[inline(always)]
    fn load_reserved(&mut self, w: Width, addr: u64) -> Result<u64, Stopped> {
        let result = self.cpu.load_reserved(Gva(addr), w);
        self.or_stop(result)
    }

    #[inline(always)]
    fn store_conditional(&mut self, w: Width, addr: u64, value: u64) -> Result<u64, Stopped> {
        let result = self.cpu.store_conditional(Gva(addr), w, value);
        self.after_write();
        self.or_stop(result)
    }

    #[inline(always)]
    fn fence(&mut self) {}

    #[inline(always)]
    fn vector_load(&mut self, len_bytes: u8, to: Slot, addr: u64) -> Result<(), Stopped> {
        let value = match self.host_bytes(len_bytes, addr, Access::Read) {
            // SAFETY: as in `load`; the access ends inside the page.
            Some(host) => unsafe {
                match len_bytes {
                    4 => [host_read(host, Width::W32), 0],
                    8 => [host_read(host, Width::W64), 0],
                    _ => [host_read(host, Width::W64), host_read(host + 8, Width::W64)],
                }
            },
            None => self.slow_vector_load(len_bytes, addr)?,
        };
        self.cpu.set_vector(to, value);
        Ok(())
    }

    #[inline(always)]
    fn vector_store(&mut self, len_bytes: u8, addr: u64, from: Slot) -> Result<(), Stopped> {
        let value = self.cpu.vector(from);
        match self.host_bytes(len_bytes, addr, Access::Write) {
            Some(host) => {
                // SAFETY: as in `store`; the access ends inside the page.
                unsafe {
                    match len_bytes {
                        4 => host_write(host, Width::W32, value[0]),
                        8 => host_write(host, Width::W64, value[0]),
                        _ => {
                            host_write(host, Width::W64, value[0]);
                            host_write(host + 8, Width::W64, value[1]);
                        }
                    }
                }
                Ok(())
            }
            None => self.slow_vector_store(len_bytes, addr, value),
        }
    }

    #[inline(always)]
    fn vector(&mut self, op: VectorOp, imm: u8, to: Slot, a: Slot, b: Slot) {
        self.cpu.run_vector(op, imm, to, a, b);
    }

    #[inline(always)]
    fn vector_insert(&mut self, op: VectorInsert, imm: u8, to: Slot, value: u64) {
        self.cpu.run_vector_insert(op, imm, to, value);
    }

    #[inline(always)]
    fn vector_extract(&mut self, op: VectorExtract, a: Slot, b: Slot) -> u64 {
        self.cpu.run_vector_extract(op, a, b)
    }

    #[inline(always)]
    fn float_environment(&mut self) -> u64 {
        G::FLOAT_ENVIRONMENT.map_or(0, |slot| self.cpu.slots[usize::from(slot.0)])
    }

    #[inline(always)]
    fn helper(&mut self, id: HelperId, args: &[u64]) -> Result<u64, Stopped> {
        let mut four = [0; 4];
        four[..args.len()].copy_from_slice(args);
        let result = G::helper(self.cpu, id, four);
        self.after_write();
        self.or_stop(result)
    }

    #[inline(always)]
    fn look_if(&mut self, cond: u64) {
        if cond != 0 {
            self.cpu.recheck_interrupts();
        }
    }

    #[inline(always)]
    fn trap(&mut self, cause: TrapCause, value: u64) -> Stopped {
        self.stop(Trap::new(cause, value))
    }

    #[inline(always)]
    fn trap_if(&mut self, cond: u64, cause: TrapCause, value: u64) -> Result<(), Stopped> {
        if cond != 0 { Err(self.stop(Trap::new(cause, value))) } else { Ok(()) }
    }

    #[inline(always)]
    fn jump(&mut self, target: u64) {
        self.next_pc = target;
    }

    #[inline(always)]
    fn jump_relative(&mut self, displacement: i64) {
        self.next_pc = self.pc().wrapping_add_signed(displacement);
    }

    #[inline(always)]
    fn branch_relative(&mut self, cond: u64, displacement: i64) {
        if cond != 0 {
            self.jump_relative(displacement);
        }
    }
}
