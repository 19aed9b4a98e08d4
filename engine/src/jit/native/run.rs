//! How translated code runs: the way in, what it calls out for, and why it left.

use super::{Translator, Waiting};
use crate::addr::{Gva, PAGE_MASK};
use crate::cpu::Cpu;
use crate::emit::Slot;
use crate::guest::{Guest, HelperId};
use crate::host::native::{Helped, NativeCode};
use crate::ir::block::Op;
use crate::jit::call_out::{Leave, carry_out};
use crate::jit::generations::Generations;
use crate::jit::{End, TranslatorStatistics, grow};
use crate::lower::x64::asm::Reg;
use crate::lower::x64::{COUNTDOWN, Home, Outcome, Place, VectorHome};
use crate::vcpu::{EXIT_JUMP, EXIT_SITE, EXIT_UNLINKED, Vcpu};
use std::ptr::NonNull;

/// What call-outs work on while code runs.
struct Run<'a, G: Guest> {
    cpu: &'a mut Cpu<G>,
    vcpu: NonNull<Vcpu>,
    code: &'a Generations,
    /// `cpu.retired` plus what may still be retired.
    end: u64,
    left: Option<Leave>,
    statistics: &'a mut TranslatorStatistics,
}

impl Translator {
    /// Runs a unit, which the vCPU's pc leads to, until it leaves.
    pub fn run<G: Guest>(&mut self, cpu: &mut Cpu<G>, number: u32, limit: u64) -> End {
        let tag = cpu.context_tag();
        let is_noted = match std::mem::replace(&mut self.waiting, Waiting::Nothing) {
            Waiting::Jump(pc) => pc == cpu.pc,
            Waiting::Link(link, pc) => pc == cpu.pc && self.link(cpu, link, number),
            Waiting::Nothing => false,
        };
        if is_noted {
            let unit = self.code.unit(number);
            let origin = self.code.body(number).origin;
            let (pc, context) = (cpu.pc, cpu.fetch_context());
            let code = self.code.memory.address(unit.entry());
            match origin.second {
                None => cpu.tlb.jumps.note_in_page(pc, context, tag, code, origin.page),
                Some(_) => cpu.tlb.jumps.note(pc, context, tag, code),
            }
        }
        let unit = self.code.unit(number);
        let (start, insns) = (unit.start(), i64::from(unit.insns));
        // The first block runs in any case.
        let left = (limit.saturating_sub(cpu.retired) as i64).max(insns);
        let vcpu = cpu.vcpu();
        let end = cpu.retired.wrapping_add(left as u64);
        let (page_base, far_tag, began) = (cpu.pc.0 & !PAGE_MASK, cpu.far_tag(), cpu.retired);
        let mut run = Run { cpu, vcpu, code: &self.code, end, left: None, statistics: &mut self.statistics };
        let argument = (&raw mut run).cast::<u8>();
        // SAFETY: the vCPU is that of `run.cpu`, which is borrowed exclusively; none of its other fields than these are
        // borrowed here. Its TLB leads into `run.cpu.ram` only, which it owns. Units are lowered for this memory, and
        // are entered where they start. Call-outs have the argument for their own as long as they run.
        unsafe {
            (*vcpu.as_ptr()).links = NativeCode::links(call_out::<G>, call_helper::<G>, argument);
            (*vcpu.as_ptr()).context_tag = tag;
            (*vcpu.as_ptr()).far_tag = far_tag;
            (*vcpu.as_ptr()).page_base = page_base;
            (*vcpu.as_ptr()).countdown = left - insns;
            (*vcpu.as_ptr()).withheld = 0;
            (*vcpu.as_ptr()).moved = 0;
            self.code.memory.enter(vcpu, start);
        }
        let left = run.left;
        // SAFETY: as above; generated code has returned.
        let (exit, pc, rest) = unsafe {
            let vcpu = vcpu.as_ptr();
            ((*vcpu).exit, (*vcpu).pc, (*vcpu).countdown.wrapping_add((*vcpu).withheld))
        };
        let retired = end.wrapping_sub(rest as u64);
        self.statistics.retired += retired.wrapping_sub(began);
        cpu.retired = retired;
        self.statistics.entries += 1;
        match exit {
            EXIT_SITE => {
                cpu.pc = Gva(pc);
                match left {
                    Some(Leave::Look) | None => {
                        self.statistics.pauses += 1;
                        End::Next
                    }
                    Some(leave) => {
                        self.statistics.traps += u64::from(matches!(leave, Leave::Trap(_)));
                        self.statistics.interpreted += u64::from(leave == Leave::Interpret);
                        End::Left(leave)
                    }
                }
            }
            number if number >= EXIT_UNLINKED => {
                let link = (number - EXIT_UNLINKED) as u32;
                self.statistics.unlinked += 1;
                // SAFETY: as above.
                let page_base = unsafe { (*vcpu.as_ptr()).page_base };
                cpu.pc = grow::address(page_base, self.code.link(link).to());
                self.waiting = Waiting::Link(link, cpu.pc);
                End::Next
            }
            exit => {
                cpu.pc = Gva(pc);
                if exit == EXIT_JUMP {
                    self.waiting = Waiting::Jump(cpu.pc);
                    self.statistics.jump_misses += 1;
                } else {
                    self.paused = Some(cpu.pc);
                    self.statistics.pauses += 1;
                }
                End::Next
            }
        }
    }
}

/// What sites call.
///
/// # Safety
/// `argument` is the `Run` that the code was entered with, `site` the number of one of its sites.
unsafe extern "sysv64" fn call_out<G: Guest>(argument: *mut u8, site: u64) -> u64 {
    // SAFETY: the caller's promise; the run loop does not touch it before the code returns.
    let run = unsafe { &mut *argument.cast::<Run<'_, G>>() };
    u64::from(run.site(site as u32))
}

/// What calls of helpers call.
///
/// # Safety
/// As for [`call_out`]; `helper` is the number of one of the guest's helpers.
unsafe extern "sysv64" fn call_helper<G: Guest>(argument: *mut u8, site: u64, helper: u64) -> Helped {
    // SAFETY: as in `call_out`.
    let run = unsafe { &mut *argument.cast::<Run<'_, G>>() };
    match run.helper(site as u32, HelperId(helper as u16)) {
        Some(result) => Helped { result, leaves: 0 },
        None => Helped { result: 0, leaves: 1 },
    }
}

impl<G: Guest> Run<'_, G> {
    /// Runs a helper; `None` if the code is to be left. What it may touch is in memory, and so is the count.
    #[inline(always)]
    fn helper(&mut self, number: u32, id: HelperId) -> Option<u64> {
        let vcpu = self.vcpu.as_ptr();
        // SAFETY: generated code waits for this function; of the vCPU only these fields are borrowed, and nobody else
        // borrows them.
        let (countdown, withheld, arguments) =
            unsafe { (&mut (*vcpu).countdown, &mut (*vcpu).withheld, (*vcpu).helper_arguments) };
        let cpu = &mut *self.cpu;
        cpu.retired = self.end.wrapping_sub(countdown.wrapping_add(*withheld) as u64);
        self.statistics.call_outs += 1;
        self.statistics.helpers += 1;
        let before = (cpu.fetch_epoch(), cpu.data_context());
        match G::helper(cpu, id, arguments) {
            Ok(result) => {
                self.settle(before);
                if self.cpu.needs_look() && *countdown >= 0 {
                    *withheld += *countdown + 1;
                    *countdown = -1;
                }
                Some(result)
            }
            Err(trap) => {
                let (site, _) = self.code.site(number);
                *countdown += i64::from(site.unretired);
                self.left = Some(Leave::Trap(trap));
                // SAFETY: as above.
                unsafe { (*vcpu).pc = grow::address((*vcpu).page_base, site.insn).0 };
                None
            }
        }
    }

    /// After what was called: code that was written is to be looked at, and what moved is looked up afresh. `before` are
    /// fetch epoch and data context before it.
    #[inline(always)]
    fn settle(&mut self, before: (u64, usize)) {
        let cpu = &mut *self.cpu;
        if cpu.ram.has_written_code() {
            cpu.recheck_interrupts();
        }
        if (cpu.fetch_epoch(), cpu.data_context()) != before {
            let vcpu = self.vcpu.as_ptr();
            // SAFETY: generated code waits, and nobody borrows these fields of the vCPU.
            unsafe {
                (*vcpu).context_tag = cpu.context_tag();
                (*vcpu).far_tag = cpu.far_tag();
                (*vcpu).moved = 1;
            }
        }
    }

    /// Does what a site asks for; true if the code is to be left.
    fn site(&mut self, number: u32) -> bool {
        let (site, body) = self.code.site(number);
        let (homes, vector_homes) = self.code.homes_of(body);
        let vcpu = self.vcpu.as_ptr();
        // SAFETY: generated code waits for this function; of the vCPU only these fields are borrowed, and nobody else
        // borrows them.
        let (saved, vectors, spill, withheld, aside) = unsafe {
            (
                &mut (*vcpu).saved,
                &mut (*vcpu).saved_vectors,
                &(*vcpu).spill,
                &mut (*vcpu).withheld,
                &mut (*vcpu).aside,
            )
        };
        const RESULT: usize = Reg::RAX.0 as usize;
        const COUNT: usize = COUNTDOWN.0 as usize;
        let value = |saved: &[u64; 16], place: Place| match place {
            Place::Const(number) => number,
            Place::Reg(reg) => saved[usize::from(reg.0)],
            Place::Spill(place) => spill[usize::from(place)],
        };
        self.statistics.call_outs += 1;
        let cpu = &mut *self.cpu;
        cpu.retired = self.end.wrapping_sub(saved[COUNT].wrapping_add_signed(*withheld));
        let mut operands = [0; 4];
        for (operand, &place) in operands.iter_mut().zip(&site.operands[..usize::from(site.count)]) {
            *operand = value(saved, place);
        }
        let before = (cpu.fetch_epoch(), cpu.data_context());
        let mut written_back = false;
        let result = match site.op {
            Op::Helper { id, .. } => {
                let effects = G::HELPERS[usize::from(id.0)].effects;
                self.statistics.helpers += 1;
                if effects.reads_state || effects.writes_state {
                    write_back(cpu, homes, saved);
                    write_back_vectors(cpu, vector_homes, vectors);
                    written_back = true;
                }
                let result = G::helper(cpu, id, operands).map_err(Leave::from);
                if effects.writes_state && result.is_ok() {
                    for home in homes {
                        saved[usize::from(home.reg.0)] = cpu.slots[usize::from(home.slot.0)];
                    }
                    for home in vector_homes {
                        vectors[usize::from(home.reg.0)] = cpu.vector(home.slot);
                    }
                }
                result
            }
            op => {
                let mut any = false;
                op.for_each_vector(|_| any = true);
                if any {
                    write_back_vectors(cpu, vector_homes, vectors);
                }
                let result = carry_out(cpu, &op, operands);
                let written = op.vector_written();
                if let Some(home) = vector_homes.iter().find(|home| Some(home.slot) == written) {
                    vectors[usize::from(home.reg.0)] = cpu.vector(home.slot);
                }
                result
            }
        };
        match result {
            Ok(result) => {
                match site.outcome {
                    Outcome::Nothing => {}
                    Outcome::Reg(reg) => saved[usize::from(reg.0)] = result,
                    Outcome::Access => {
                        *aside = match site.op.vector_written() {
                            Some(slot) => self.cpu.vector(slot),
                            None => [result, 0],
                        };
                        saved[RESULT] = aside.as_ptr() as u64;
                    }
                }
                self.settle(before);
                if self.cpu.needs_look() && saved[COUNT] as i64 >= 0 {
                    *withheld += saved[COUNT] as i64 + 1;
                    saved[COUNT] = u64::MAX;
                }
                false
            }
            Err(leave) => {
                if !written_back {
                    write_back(cpu, homes, saved);
                    write_back_vectors(cpu, vector_homes, vectors);
                }
                for &(Slot(slot), place) in &site.pending {
                    cpu.slots[usize::from(slot)] = value(saved, place);
                }
                saved[COUNT] = saved[COUNT].wrapping_add(site.unretired.into());
                self.left = Some(leave);
                // SAFETY: as above.
                unsafe { (*vcpu).pc = grow::address((*vcpu).page_base, site.insn).0 };
                true
            }
        }
    }
}

/// Writes pairs of slots that are in vector registers back to memory.
fn write_back_vectors<G: Guest>(cpu: &mut Cpu<G>, homes: &[VectorHome], saved: &[[u64; 2]; 16]) {
    for home in homes {
        cpu.set_vector(home.slot, saved[usize::from(home.reg.0)]);
    }
}

/// Writes slots that are in registers back to memory.
fn write_back<G: Guest>(cpu: &mut Cpu<G>, homes: &[Home], saved: &[u64; 16]) {
    for home in homes {
        cpu.slots[usize::from(home.slot.0)] = saved[usize::from(home.reg.0)];
    }
}
