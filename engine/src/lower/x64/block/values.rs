//! Where values are: registers that are taken and freed while code is written in order.
//!
//! A value that is in a register may be in memory as well, at its *backing*: the slot that it was read from or written to,
//! or where it was put aside before. Giving up its register costs nothing then. What a slot held is not read before it is
//! needed, and may never be in a register at all: most instructions take an operand from memory.

use super::{END, Emitter, Loc, NEVER, Pending, spill};
use crate::addr::Width::{self, W8, W64};
use crate::emit::Slot;
use crate::ir::block::{Op, Value};
use crate::lower::x64::asm::{Mem, Reg, Rm};
use crate::lower::x64::cold::Kept;
use crate::lower::x64::slot;

/// How many operations ahead is looked for the next use of what registers hold.
const AHEAD: usize = 48;

impl Emitter<'_> {
    pub fn loc(&self, value: Value) -> Loc {
        self.s.loc[value.0 as usize]
    }

    /// How many low bits of a value may be set.
    pub fn bits(&self, value: Value) -> u32 {
        self.s.bits[value.0 as usize].into()
    }

    pub fn set_bits(&mut self, value: Value, bits: u32) {
        self.s.bits[value.0 as usize] = bits as u8;
    }

    pub fn constant(&self, value: Value) -> Option<u64> {
        match self.loc(value) {
            Loc::Const(number) => Some(number),
            _ => None,
        }
    }

    /// A constant that fits the immediate of an instruction of width `w`.
    pub fn immediate(&self, w: Width, value: Value) -> Option<i32> {
        let number = self.constant(value)?;
        match w {
            Width::W64 => i32::try_from(number as i64).ok(),
            w => Some((number & w.mask()) as i32),
        }
    }

    pub fn is_fused(&self, value: Value) -> bool {
        self.s.marks[value.0 as usize].fused
    }

    /// Whether this operation is the last that uses a value.
    fn dies(&self, value: Value) -> bool {
        self.s.last_use[value.0 as usize] <= self.at
    }

    /// The memory that alone holds a value, if that is so.
    fn memory_of(&self, value: Value) -> Option<Mem> {
        match self.loc(value) {
            Loc::Spill(place) => Some(spill(place)),
            Loc::Slot(from) => Some(slot(from)),
            _ => None,
        }
    }

    /// The register of a value, into which it is brought if it is in none.
    pub fn fetch(&mut self, value: Value) -> Reg {
        let reg = match self.loc(value) {
            Loc::Temp(reg) | Loc::Home(reg) => reg,
            Loc::Const(number) => {
                // Needed again, it is made again.
                let reg = self.temp();
                self.asm.mov_imm(reg, number);
                reg
            }
            at @ (Loc::Spill(_) | Loc::Slot(_)) => {
                let reg = self.temp();
                // Making room may have moved it from a slot that was written.
                let from = self.memory_of(value).unwrap_or_else(|| unreachable!("{at:?} is memory"));
                self.asm.load(W64, reg, from);
                self.s.backing[value.0 as usize] = self.loc(value);
                self.s.loc[value.0 as usize] = Loc::Temp(reg);
                self.refs[usize::from(reg.0)] += 1;
                reg
            }
            Loc::Nowhere => unreachable!("values are defined before they are used"),
        };
        self.locked |= 1 << reg.0;
        reg
    }

    /// A value as the second operand of an instruction: in memory if it is there and no register is to spare, or no use is
    /// left for one.
    pub fn operand(&mut self, value: Value) -> Rm {
        match self.memory_of(value) {
            Some(memory) if self.dies(value) || self.free().is_none() => memory.into(),
            _ => self.fetch(value).into(),
        }
    }

    /// The register of a first operand; `to`, if it is in memory and no register of its own pays. Not if that would overwrite
    /// the other operand.
    pub fn fetch_or_into(&mut self, to: Reg, value: Value, other: Option<Value>) -> Reg {
        let holds_other =
            other.is_some_and(|other| [Loc::Temp(to), Loc::Home(to)].contains(&self.loc(other)));
        match self.memory_of(value) {
            Some(memory) if !holds_other && (self.dies(value) || self.free().is_none()) => {
                self.asm.load(W64, to, memory);
                to
            }
            _ => self.fetch(value),
        }
    }

    pub(super) fn lock_value(&mut self, value: Value) {
        if let Loc::Temp(reg) | Loc::Home(reg) = self.loc(value) {
            self.locked |= 1 << reg.0;
        }
    }

    /// Sees to it that a value, which a site is to be told of, is not in a slot alone.
    pub(super) fn out_of_slot(&mut self, value: Value) {
        if let Loc::Slot(_) = self.loc(value) {
            self.rescue(value);
        }
        self.lock_value(value);
    }

    /// A register that holds nothing and is not used by this operation.
    pub(super) fn free(&self) -> Option<Reg> {
        let free = |reg: &Reg| self.refs[usize::from(reg.0)] == 0 && self.locked >> reg.0 & 1 == 0;
        self.plan.temps.iter().copied().find(free)
    }

    /// A free register for this operation.
    pub fn temp(&mut self) -> Reg {
        let reg = self.free().unwrap_or_else(|| self.evict());
        self.locked |= 1 << reg.0;
        reg
    }

    /// Frees the register whose values are used last.
    fn evict(&mut self) -> Reg {
        let mut left = 0u32;
        let mut backed = 0u32;
        for &value in &self.s.live {
            if let Loc::Temp(reg) = self.loc(value)
                && self.locked >> reg.0 & 1 == 0
            {
                if left >> reg.0 & 1 == 0 {
                    backed |= 1 << reg.0;
                }
                left |= 1 << reg.0;
                if self.s.backing[value.0 as usize] == Loc::Nowhere {
                    backed &= !(1 << reg.0);
                }
            }
        }
        for kept in self.kept() {
            if let Kept::Reg(reg) = kept {
                left |= 1 << reg.0;
            }
        }
        assert!(left != 0, "an operation locks fewer registers than there are");
        let mut last = left.trailing_zeros();
        let at = self.at as usize;
        for op in self.block.ops[at..].iter().take(AHEAD) {
            if left.is_power_of_two() {
                break;
            }
            self.block.for_each_operand(op, |value| {
                if let Loc::Temp(reg) = self.loc(value)
                    && left >> reg.0 & 1 != 0
                {
                    left &= !(1 << reg.0);
                    last = reg.0.into();
                }
            });
            if left == 0 {
                break;
            }
        }
        let best = [left & backed, left].into_iter().find(|&set| set != 0);
        let reg = Reg(best.map_or(last, u32::trailing_zeros) as u8);
        self.put_aside(reg);
        reg
    }

    /// Makes a register free that may hold values.
    pub fn clear(&mut self, reg: Reg) {
        self.locked |= 1 << reg.0;
        if self.refs[usize::from(reg.0)] == 0 {
            return;
        }
        match self.free() {
            Some(to) => {
                self.asm.mov(to, reg);
                for &value in &self.s.live {
                    let loc = &mut self.s.loc[value.0 as usize];
                    if *loc == Loc::Temp(reg) {
                        *loc = Loc::Temp(to);
                    }
                }
                self.refs.swap(usize::from(reg.0), usize::from(to.0));
                self.keep_elsewhere(Kept::Reg(reg), Kept::Reg(to));
            }
            None => self.put_aside(reg),
        }
    }

    /// Gives a register up: its values are in memory from now on.
    fn put_aside(&mut self, reg: Reg) {
        if self.kept().contains(&Kept::Reg(reg)) {
            let place = self.free_spill();
            self.asm.store(W64, spill(place), reg);
            self.spills[usize::from(place)] = 1;
            self.refs[usize::from(reg.0)] = 0;
            return self.keep_elsewhere(Kept::Reg(reg), Kept::Spill(place));
        }
        let mut place = None;
        for index in 0..self.s.live.len() {
            let value = self.s.live[index];
            if self.loc(value) != Loc::Temp(reg) {
                continue;
            }
            // What is to be written anyhow is written now.
            let may_be_written = self.store_all_pending(value);
            let backing = std::mem::replace(&mut self.s.backing[value.0 as usize], Loc::Nowhere);
            self.s.loc[value.0 as usize] = match backing {
                Loc::Nowhere => Loc::Spill(self.spill_place(&mut place, reg)),
                // A value that is pending is in no slot.
                Loc::Slot(_) if !may_be_written => Loc::Spill(self.spill_place(&mut place, reg)),
                backing => backing,
            };
        }
        self.refs[usize::from(reg.0)] = 0;
    }

    /// Puts the content of a register aside if that has not been done.
    fn spill_place(&mut self, place: &mut Option<u16>, reg: Reg) -> u16 {
        let place = *place.get_or_insert_with(|| {
            let free = self.free_spill();
            self.asm.store(W64, spill(free), reg);
            free
        });
        self.spills[usize::from(place)] += 1;
        place
    }

    pub(super) fn free_spill(&self) -> u16 {
        self.spills.iter().position(|&refs| refs == 0).expect("there is room for every value") as u16
    }

    /// Makes all pending writes of a value, unless that destroys what other values are in; whether none is left.
    fn store_all_pending(&mut self, value: Value) -> bool {
        let is_needed = |slot: Slot| self.s.live.iter().any(|&value| self.loc(value) == Loc::Slot(slot));
        let mut pending = self.s.pending.iter().filter(|pending| pending.value == value);
        if pending.any(|pending| is_needed(pending.slot)) {
            return false;
        }
        while let Some(index) = self.s.pending.iter().position(|pending| pending.value == value) {
            let Pending { slot, .. } = self.s.pending.swap_remove(index);
            self.store_slot(slot, value);
        }
        true
    }

    /// The register that a value is to be computed into. It may be that of an operand that `reuse` names if the operand is
    /// of no use afterwards. Ask before operands are fetched.
    pub fn dest(&mut self, v: Value, reuse: Option<Value>) -> Reg {
        if let Some(home) = self.hinted_home(v) {
            self.protect(home);
            self.locked |= 1 << home.0;
            return home;
        }
        if let Some(value) = reuse
            && self.dies(value)
            && let Loc::Temp(reg) = self.loc(value)
            && self.refs[usize::from(reg.0)] == 1
            && !self.s.pending.iter().any(|pending| pending.value == value)
        {
            self.locked |= 1 << reg.0;
            return reg;
        }
        self.temp()
    }

    /// The home that a value is written to next, if it may be computed right there.
    fn hinted_home(&self, v: Value) -> Option<Reg> {
        let set = self.s.hint[v.0 as usize];
        if set == NEVER || self.s.next_site[v.0 as usize] < set {
            return None;
        }
        let Op::Set { slot, .. } = self.block.ops[set as usize] else { return None };
        self.plan.home(slot)
    }

    /// Notes that a value has been computed into the register that [`Emitter::dest`] gave.
    pub fn define(&mut self, v: Value, reg: Reg) {
        if self.plan.homes.iter().any(|home| home.reg == reg) {
            self.s.marks[self.s.hint[v.0 as usize] as usize].done = true;
            self.define_at(v, Loc::Home(reg));
        } else {
            self.define_at(v, Loc::Temp(reg));
        }
    }

    /// Notes where a value is.
    pub fn define_at(&mut self, v: Value, loc: Loc) {
        if self.s.last_use[v.0 as usize] == NEVER {
            return;
        }
        self.s.loc[v.0 as usize] = loc;
        match loc {
            Loc::Temp(reg) => self.refs[usize::from(reg.0)] += 1,
            Loc::Spill(place) => self.spills[usize::from(place)] += 1,
            Loc::Home(_) | Loc::Slot(_) => {}
            Loc::Const(_) | Loc::Nowhere => return,
        }
        self.s.live.push(v);
    }

    /// A value that is the same as another.
    pub fn alias(&mut self, v: Value, of: Value) {
        let loc = self.loc(of);
        self.set_bits(v, self.bits(of));
        self.define_at(v, loc);
        self.release_operands(&[of]);
    }

    /// Lets go of operands that are of no use after this operation.
    pub fn release_operands(&mut self, values: &[Value]) {
        for &value in values {
            if self.dies(value) {
                self.release(value);
            }
        }
    }

    fn release(&mut self, value: Value) {
        match self.loc(value) {
            Loc::Const(_) | Loc::Nowhere => return,
            // Nothing is gained by forgetting it while it is pending.
            Loc::Home(_) if self.s.pending.iter().any(|pending| pending.value == value) => return,
            Loc::Temp(_) | Loc::Spill(_) => self.store_pending(value),
            Loc::Home(_) | Loc::Slot(_) => {}
        }
        self.leave(value);
        self.s.loc[value.0 as usize] = Loc::Nowhere;
        self.s.live.retain(|&live| live != value);
    }

    /// Takes a value out of the count of what is in its places.
    pub(super) fn leave(&mut self, value: Value) {
        let backing = std::mem::replace(&mut self.s.backing[value.0 as usize], Loc::Nowhere);
        for loc in [self.loc(value), backing] {
            match loc {
                Loc::Temp(reg) => self.refs[usize::from(reg.0)] -= 1,
                Loc::Spill(place) => self.spills[usize::from(place)] -= 1,
                _ => {}
            }
        }
    }

    /// Stores what is pending of a value that is about to be lost.
    fn store_pending(&mut self, value: Value) {
        let mut index = 0;
        while let Some(&Pending { slot, value: of, until }) = self.s.pending.get(index) {
            if of != value {
                index += 1;
                continue;
            }
            let observed = self.in_site || until == END || self.s.next_site[self.at as usize] < until;
            if observed {
                self.store_slot(slot, value);
            }
            self.s.pending.swap_remove(index);
        }
    }

    /// The content of a home is about to be replaced: values that are still needed are saved.
    pub(super) fn protect(&mut self, home: Reg) {
        let mut copy = None;
        let mut index = 0;
        while let Some(&value) = self.s.live.get(index) {
            if self.loc(value) != Loc::Home(home) {
                index += 1;
                continue;
            }
            if self.dies(value) {
                // As an operand of this operation it is read before the home is written.
                self.store_pending(value);
                if self.s.last_use[value.0 as usize] < self.at {
                    self.s.loc[value.0 as usize] = Loc::Nowhere;
                    self.s.live.swap_remove(index);
                } else {
                    index += 1;
                }
                continue;
            }
            let reg = match copy {
                Some(reg) => reg,
                None => {
                    let locked = self.locked;
                    let reg = self.temp();
                    // The copy may be put aside like any other value.
                    self.locked = locked;
                    self.asm.mov(reg, home);
                    copy = Some(reg);
                    reg
                }
            };
            self.s.loc[value.0 as usize] = Loc::Temp(reg);
            self.refs[usize::from(reg.0)] += 1;
            index += 1;
        }
    }

    /// A helper may change every home.
    pub(super) fn give_up_homes(&mut self) {
        for index in 0..self.plan.homes.len() {
            self.protect(self.plan.homes[index].reg);
        }
    }

    /// A helper may change every slot in memory.
    pub(super) fn give_up_slots(&mut self) {
        for index in 0..self.s.live.len() {
            let value = self.s.live[index];
            if let Loc::Slot(_) = self.loc(value) {
                self.rescue(value);
            }
            self.forget_slot(value);
        }
    }

    /// The slot that a value is in besides its register is none of its places any more.
    fn forget_slot(&mut self, value: Value) {
        let backing = &mut self.s.backing[value.0 as usize];
        if let Loc::Slot(_) = backing {
            *backing = Loc::Nowhere;
        }
    }

    /// Brings a value from a slot to where it is its own, without giving up anything else.
    fn rescue(&mut self, value: Value) {
        let Loc::Slot(from) = self.loc(value) else { return };
        self.s.loc[value.0 as usize] = match self.free() {
            Some(reg) => {
                self.asm.load(W64, reg, slot(from));
                self.refs[usize::from(reg.0)] += 1;
                Loc::Temp(reg)
            }
            None => {
                let place = self.free_spill();
                self.asm.load(W64, Reg::RAX, slot(from));
                self.asm.store(W64, spill(place), Reg::RAX);
                self.spills[usize::from(place)] += 1;
                Loc::Spill(place)
            }
        };
    }

    /// Writes a slot in memory.
    pub(super) fn store_slot(&mut self, to: Slot, value: Value) {
        if self.loc(value) == Loc::Slot(to) {
            return;
        }
        for index in 0..self.s.live.len() {
            let other = self.s.live[index];
            if self.loc(other) == Loc::Slot(to) {
                self.rescue(other);
            }
            if self.s.backing[other.0 as usize] == Loc::Slot(to) {
                self.s.backing[other.0 as usize] = Loc::Nowhere;
            }
        }
        self.write_slot(to, value);
        if let Loc::Temp(_) = self.loc(value)
            && self.is_plain(to)
            && self.s.backing[value.0 as usize] == Loc::Nowhere
        {
            self.s.backing[value.0 as usize] = Loc::Slot(to);
        }
    }

    /// Whether a slot is written by [`Op::Set`] and helpers only.
    pub(super) fn is_plain(&self, slot: Slot) -> bool {
        !self.plan.is_vector(slot) && self.request.float_environment != Some(slot)
    }

    /// Writes a slot in memory.
    pub(super) fn write_slot(&mut self, to: Slot, value: Value) {
        match self.loc(value) {
            Loc::Const(number) if self.request.small.contains(&to) => {
                debug_assert!(u8::try_from(number).is_ok(), "the guest said so");
                self.asm.store_imm(W8, slot(to), number as i32);
            }
            _ => self.store_value(slot(to), value),
        }
    }

    pub(super) fn store_value(&mut self, to: Mem, value: Value) {
        match self.loc(value) {
            Loc::Const(number) if i32::try_from(number as i64).is_ok() => {
                self.asm.store_imm(W64, to, number as i32);
            }
            Loc::Const(number) => {
                self.asm.mov_imm(Reg::RAX, number);
                self.asm.store(W64, to, Reg::RAX);
            }
            Loc::Temp(reg) | Loc::Home(reg) => self.asm.store(W64, to, reg),
            at @ (Loc::Spill(_) | Loc::Slot(_)) => {
                let from = self.memory_of(value).unwrap_or_else(|| unreachable!("{at:?} is memory"));
                self.asm.load(W64, Reg::RAX, from);
                self.asm.store(W64, to, Reg::RAX);
            }
            Loc::Nowhere => unreachable!("a value that is pending is somewhere"),
        }
    }

    /// The end of the block: what is still to be written overwrites nothing that is needed.
    pub(super) fn settle(&mut self) {
        for index in 0..self.s.live.len() {
            let value = self.s.live[index];
            if let Loc::Slot(from) = self.loc(value)
                && self.s.pending.iter().any(|pending| pending.slot == from)
            {
                self.rescue(value);
            }
        }
    }
}
