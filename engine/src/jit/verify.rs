//! Lock step: stretches of translated code are run a second time by the interpreter, from the same state, and both have to
//! end in the same state.
//!
//! A stretch begins where the run loop enters translated code. It runs there as ever, for [`STRETCH`] instructions at most,
//! as a trial ([`crate::cpu::Start`]): all it does can be taken back. Then everything is taken back, the interpreter runs
//! exactly as many instructions, and compared are the address, the count, every slot, the guest's system state, the
//! exception at the end if there was one, and every page of RAM that either of them wrote, in whole, so that a store to a
//! wrong place is found as well. What the interpreter did stays. The code that is checked is the code that runs without
//! checking: stores go through the TLB in line, but for the first to a page that the stretch before did not write.
//!
//! Guest time stands still in a stretch, and one that would reach a device or overwrite code is taken back and run again
//! without a check, so that everything outside of the vCPU and RAM happens once. Accessed and dirty bits of page tables are
//! not compared: they depend on what the TLB has forgotten.
//!
//! Checked are the first run of every piece of translated code that the run loop enters, which is how every one begins, and
//! from then on a stretch every [`PERIOD`] instructions on average. For that, code is left that often, wherever it is, so
//! that the stretches begin all over what runs.
//!
//! If something differs, the stretch is run again and again with lower limits, until the first place is found where
//! translated code can stop and does not agree; the instructions up to there are what is reported.

use super::End;
use super::any::AnyTranslator;
use super::call_out::Leave;
use crate::addr::{Gpa, Gva};
use crate::cache::{BlockCache, BlockId};
use crate::cpu::{Cpu, Reservation, Start};
use crate::eager::BlockEnd;
use crate::emit::{SLOTS, Slot};
use crate::guest::{Guest, Mode, Trap};
use core::fmt;

/// Instructions of a stretch, about.
const STRETCH: u64 = 600;
/// Instructions from one stretch to the next, on average. A power of two.
const PERIOD: u64 = 1 << 13;
/// Instructions that a report shows at most.
const MAX_SHOWN: usize = 40;
/// Bytes of memory that a report shows of one place.
const MAX_BYTES: usize = 32;

/// How much has been checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifierStatistics {
    /// Stretches that agreed.
    pub stretches: u64,
    /// Instructions in them.
    pub insns: u64,
    /// Stretches that reached a device or overwrote code and were run without a check.
    pub unchecked: u64,
}

/// Something that is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What people call it.
    pub name: String,
    /// What translated code left there.
    pub translated: String,
    /// What the interpreter left there.
    pub interpreted: String,
}

/// An instruction on the way to where two runs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its address.
    pub pc: Gva,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it is.
    pub text: String,
    /// The interpreter changed something by it that differs in the end.
    pub suspect: bool,
}

/// Translated code did something else than the interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// Address of the instruction that it seems to have happened at: the first that the interpreter changed something by
    /// that differs, or the first since both agreed.
    pub pc: Gva,
    /// What the code was decoded under.
    pub mode: Mode,
    /// Instructions retired since power-on where both agreed last.
    pub retired: u64,
    /// The instructions that the interpreter ran from there.
    pub steps: Vec<Step>,
    /// How many were left out before those.
    pub left_out: usize,
    /// What differs after them.
    pub differences: Vec<Difference>,
}

impl fmt::Display for Divergence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pc, mode, retired, steps, left_out, differences } = self;
        writeln!(out, "translated code differs from the interpreter at {pc} (mode {:#x}),", mode.0)?;
        writeln!(out, "after {retired} instructions and these, of which * changed what differs:")?;
        if *left_out > 0 {
            writeln!(out, "    ({left_out} more)")?;
        }
        for step in steps {
            let mark = if step.suspect { '*' } else { ' ' };
            let bytes: Vec<String> = step.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(out, "  {mark} {}  {:<32} {}", step.pc, bytes.join(" "), step.text)?;
        }
        writeln!(out, "  {:<28} {:<34} interpreted", "", "translated")?;
        for Difference { name, translated, interpreted } in differences {
            writeln!(out, "  {name:<28} {translated:<34} {interpreted}")?;
        }
        Ok(())
    }
}

/// Decides what is checked, and checks it.
pub struct Verifier<G: Guest> {
    start: Start<G>,
    /// Count at which the next stretch is due.
    due: u64,
    random: u64,
    statistics: VerifierStatistics,
    divergence: Option<Box<Divergence>>,
}

/// Where translated code got to.
struct Reached {
    end: End,
    pc: Gva,
    retired: u64,
    slots: Box<[u64; SLOTS]>,
    reservation: Option<Reservation>,
    is_waiting: bool,
    mode: Mode,
    /// The guest's system state as a snapshot has it.
    guest: String,
}

/// How an interpreted stretch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interpreted {
    /// After so many instructions.
    Count,
    /// An instruction trapped.
    Trapped(Trap),
    /// Code could not be fetched, or was overwritten. Translated code need not notice at the same place: it runs on until
    /// the guest says that translations have changed.
    Unfetched,
}

impl<G: Guest> Default for Verifier<G> {
    fn default() -> Self {
        Self {
            start: Start::default(),
            due: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            statistics: VerifierStatistics::default(),
            divergence: None,
        }
    }
}

impl<G: Guest> Verifier<G> {
    /// How much has been checked.
    pub fn statistics(&self) -> VerifierStatistics {
        self.statistics
    }

    /// What differed. After that nothing is checked any more.
    pub fn divergence(&self) -> Option<&Divergence> {
        self.divergence.as_deref()
    }

    /// Runs translated code as [`AnyTranslator::run`] does, or a checked stretch of it.
    pub fn run(
        &mut self,
        translator: &mut AnyTranslator<G>,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        id: BlockId,
        unit: u32,
        limit: u64,
    ) -> End {
        let fresh = cache.take_fresh(id, cpu.data_context());
        let is_due = cpu.retired >= self.due;
        if is_due {
            self.due = cpu.retired + STRETCH + self.pause();
        }
        if !fresh && !is_due || self.divergence.is_some() {
            return translator.run(cpu, unit, limit.min(self.due));
        }
        let limit = limit.min(cpu.retired + STRETCH);
        cpu.begin_trial(&mut self.start);
        let end = self.check(translator, cache, cpu, unit, limit);
        cpu.end_trial(&mut self.start);
        match end {
            Some(end) => end,
            None => {
                self.statistics.unchecked += 1;
                // It may be about to overwrite itself: what it was made from is looked at first.
                if cpu.needs_look() { End::Next } else { translator.run(cpu, unit, limit) }
            }
        }
    }

    /// Instructions until the next stretch: not always the same, or loops would always be left at the same place.
    fn pause(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % (2 * PERIOD)
    }

    /// Runs a stretch both ways. `None` if it has to be run without a check; then nothing has been done.
    fn check(
        &mut self,
        translator: &mut AnyTranslator<G>,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        unit: u32,
        limit: u64,
    ) -> Option<End> {
        let began = cpu.retired;
        let end = translator.run(cpu, unit, limit);
        if cpu.has_strayed() {
            cpu.take_back(&self.start);
            return None;
        }
        let reached = Reached::new(cpu, end);
        cpu.take_back(&self.start);
        let interpreted = interpret(cpu, cache, &reached);
        if interpreted == Interpreted::Unfetched {
            self.statistics.unchecked += 1;
            return Some(End::Next);
        }
        if reached.agrees(cpu, interpreted) {
            self.statistics.stretches += 1;
            self.statistics.insns += reached.retired - began;
            return Some(end);
        }
        self.divergence = Some(Box::new(self.narrow(translator, cache, cpu, unit, reached)));
        cpu.recheck_interrupts();
        Some(End::Next)
    }

    /// Finds the first place where the runs do not agree.
    fn narrow(
        &self,
        translator: &mut AnyTranslator<G>,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        unit: u32,
        mut reached: Reached,
    ) -> Divergence {
        cpu.take_back(&self.start);
        let (mut agreed, last) = (cpu.retired, reached.retired);
        for limit in cpu.retired + 1..last {
            if limit <= agreed {
                continue;
            }
            let end = translator.run(cpu, unit, limit);
            let earlier = Reached::new(cpu, end);
            cpu.take_back(&self.start);
            let interpreted = interpret(cpu, cache, &earlier);
            let agrees = earlier.agrees(cpu, interpreted);
            cpu.take_back(&self.start);
            if !agrees {
                reached = earlier;
                break;
            }
            if earlier.retired >= last {
                break;
            }
            agreed = earlier.retired;
        }
        // Once more as the last, so that memory is compared with what this one left.
        let again = translator.run(cpu, unit, reached.retired);
        let again = Reached::new(cpu, again);
        if again.retired == reached.retired {
            reached = again;
        }
        cpu.take_back(&self.start);
        self.describe(cache, cpu, agreed, &reached)
    }

    /// Runs the interpreter instruction by instruction, and says what is not as it should be.
    fn describe(
        &self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        agreed: u64,
        reached: &Reached,
    ) -> Divergence {
        let mut steps = Vec::new();
        let mut changed: Vec<Vec<usize>> = Vec::new();
        let mode = cpu.mode();
        let mut interpreted = interpret_to(cpu, cache, agreed);
        while interpreted == Interpreted::Count && cpu.retired < reached.retired {
            let before = *cpu.slots;
            steps.push(step(cpu, cache));
            interpreted = interpret_to(cpu, cache, cpu.retired + 1);
            changed.push((0..SLOTS).filter(|&slot| before[slot] != cpu.slots[slot]).collect());
        }
        if interpreted == Interpreted::Count && matches!(reached.end, End::Left(Leave::Trap(_))) {
            steps.push(step(cpu, cache));
            changed.push(Vec::new());
            interpreted = interpret_one(cpu, cache);
        }
        for (step, changed) in steps.iter_mut().zip(changed) {
            step.suspect = changed.into_iter().any(|slot| !reached.same_slot(cpu, slot));
        }
        let differences = reached.differences(cpu, interpreted);
        let first = steps.iter().find(|step| step.suspect).or(steps.first());
        let pc = first.map_or(reached.pc, |step| step.pc);
        let left_out = steps.len().saturating_sub(MAX_SHOWN);
        Divergence { pc, mode, retired: agreed, steps: steps.split_off(left_out), left_out, differences }
    }
}

impl Reached {
    fn new<G: Guest>(cpu: &Cpu<G>, end: End) -> Self {
        Self {
            end,
            pc: cpu.pc,
            retired: cpu.retired,
            slots: Box::new(*cpu.slots),
            reservation: cpu.reservation,
            is_waiting: cpu.is_waiting(),
            mode: cpu.mode(),
            guest: saved(&cpu.guest),
        }
    }

    fn trap(&self) -> Option<Trap> {
        match self.end {
            End::Left(Leave::Trap(trap)) => Some(trap),
            _ => None,
        }
    }

    fn agrees<G: Guest>(&self, cpu: &Cpu<G>, interpreted: Interpreted) -> bool {
        let trap = match interpreted {
            Interpreted::Trapped(trap) => Some(trap),
            _ => None,
        };
        self.trap() == trap
            && (self.pc, self.retired, self.mode) == (cpu.pc, cpu.retired, cpu.mode())
            && (self.reservation, self.is_waiting) == (cpu.reservation, cpu.is_waiting())
            && (0..SLOTS).all(|slot| self.same_slot(cpu, slot))
            && self.guest == saved(&cpu.guest)
            && cpu.ram.undone_differences().is_empty()
    }

    /// What scratch vectors hold between instructions means nothing.
    fn same_slot<G: Guest>(&self, cpu: &Cpu<G>, slot: usize) -> bool {
        let scratch = G::VECTOR_SCRATCH.is_some_and(|Slot(scratch)| slot & !1 == usize::from(scratch));
        scratch || self.slots[slot] == cpu.slots[slot]
    }

    fn differences<G: Guest>(&self, cpu: &Cpu<G>, interpreted: Interpreted) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut differ = |name: &str, translated: String, interpreted: String| {
            if translated != interpreted {
                found.push(Difference { name: name.into(), translated, interpreted });
            }
        };
        let how = |trap: Option<Trap>| match trap {
            Some(trap) => format!("exception {} ({:#x})", trap.cause.0, trap.value),
            None => "goes on".into(),
        };
        let trap = match interpreted {
            Interpreted::Trapped(trap) => Some(trap),
            _ => None,
        };
        differ("end", how(self.trap()), how(trap));
        differ("next address", self.pc.to_string(), cpu.pc.to_string());
        differ("instructions retired", self.retired.to_string(), cpu.retired.to_string());
        differ("mode", format!("{:#x}", self.mode.0), format!("{:#x}", cpu.mode().0));
        differ("waits", self.is_waiting.to_string(), cpu.is_waiting().to_string());
        differ("reservation", format!("{:x?}", self.reservation), format!("{:x?}", cpu.reservation));
        for slot in (0..SLOTS).filter(|&slot| !self.same_slot(cpu, slot)) {
            let hex = |value: u64| format!("{value:#018x}");
            differ(&G::slot_name(Slot(slot as u8)), hex(self.slots[slot]), hex(cpu.slots[slot]));
        }
        for (path, translated, interpreted) in state_differences(&self.guest, &saved(&cpu.guest)) {
            differ(&path, translated, interpreted);
        }
        for (Gpa(gpa), difference) in cpu.ram.undone_differences() {
            let bytes = |bytes: &[u8]| {
                let shown: Vec<String> =
                    bytes.iter().take(MAX_BYTES).map(|byte| format!("{byte:02x}")).collect();
                shown.join(" ")
            };
            differ(&format!("physical {gpa:#x}"), bytes(&difference.undone), bytes(&difference.now));
        }
        found
    }
}

/// A guest's system state as text.
fn saved<G: Guest>(guest: &G) -> String {
    serde_json::to_string(guest).expect("a system state is made of numbers and names")
}

/// The numbers of two states that differ, by their names.
fn state_differences(a: &str, b: &str) -> Vec<(String, String, String)> {
    fn collect(
        path: &str,
        a: &serde_json::Value,
        b: &serde_json::Value,
        to: &mut Vec<(String, String, String)>,
    ) {
        use serde_json::Value;
        let below = |name: &str| if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        match (a, b) {
            (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
                a.iter().zip(b.values()).for_each(|((name, a), b)| collect(&below(name), a, b, to));
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                let items = a.iter().zip(b).enumerate();
                items.for_each(|(index, (a, b))| collect(&below(&index.to_string()), a, b, to));
            }
            (a, b) if a == b => {}
            (a, b) => {
                let text = |value: &Value| match value.as_u64() {
                    Some(number) => format!("{number:#x}"),
                    None => value.to_string(),
                };
                to.push((path.into(), text(a), text(b)));
            }
        }
    }
    let mut found = Vec::new();
    if let (Ok(a), Ok(b)) = (serde_json::from_str(a), serde_json::from_str(b)) {
        collect("", &a, &b, &mut found);
    }
    found
}

/// Interprets as much as translated code ran, with the exception at its end.
fn interpret<G: Guest>(cpu: &mut Cpu<G>, cache: &mut BlockCache<G::Insn>, reached: &Reached) -> Interpreted {
    match interpret_to(cpu, cache, reached.retired) {
        Interpreted::Count if reached.trap().is_some() => interpret_one(cpu, cache),
        interpreted => interpreted,
    }
}

/// Interprets until so many instructions have retired.
pub(crate) fn interpret_to<G: Guest>(
    cpu: &mut Cpu<G>,
    cache: &mut BlockCache<G::Insn>,
    retired: u64,
) -> Interpreted {
    while cpu.retired < retired {
        let most = retired - cpu.retired;
        match interpret_block(cpu, cache, most) {
            Interpreted::Count => {}
            end => return end,
        }
    }
    Interpreted::Count
}

/// Interprets an instruction that is expected to trap.
fn interpret_one<G: Guest>(cpu: &mut Cpu<G>, cache: &mut BlockCache<G::Insn>) -> Interpreted {
    interpret_block(cpu, cache, 1)
}

/// Interprets a block, or the first `most` instructions of it.
fn interpret_block<G: Guest>(cpu: &mut Cpu<G>, cache: &mut BlockCache<G::Insn>, most: u64) -> Interpreted {
    if cpu.ram.has_written_code() {
        return Interpreted::Unfetched;
    }
    let pc = cpu.pc;
    let Ok(id) = cache.find(cpu, pc) else { return Interpreted::Unfetched };
    let block = cache.block(id);
    let count = block.count();
    // As ever, the whole block is counted before it runs.
    cpu.retired += count as u64;
    let (insns, offsets) = cache.code(id);
    let run = count.min(usize::try_from(most).unwrap_or(usize::MAX));
    match G::run_block(cpu, pc, block.len_bytes(), &insns[..run], offsets) {
        BlockEnd::Next(next) => cpu.pc = next,
        BlockEnd::Cut { count: done, next } => {
            cpu.retired -= (count - done) as u64;
            cpu.pc = next;
        }
        BlockEnd::Trapped { index, trap } => {
            cpu.retired -= (count - index) as u64;
            cpu.pc = pc.offset(u64::from(offsets[index]));
            return Interpreted::Trapped(trap);
        }
    }
    Interpreted::Count
}

/// The next instruction, for a report.
fn step<G: Guest>(cpu: &mut Cpu<G>, cache: &mut BlockCache<G::Insn>) -> Step {
    let (pc, mode) = (cpu.pc, cpu.mode());
    let Ok(id) = cache.find(cpu, pc) else {
        return Step { pc, bytes: Vec::new(), text: "cannot be fetched".into(), suspect: false };
    };
    let block = cache.block(id);
    let (insns, offsets) = cache.code(id);
    let len_bytes = offsets.get(1).map_or(block.len_bytes(), |&offset| offset.into());
    let len_bytes = len_bytes.min(block.gpa().bytes_to_page_end());
    let bytes = cpu.ram.slice(block.gpa(), len_bytes).map(<[u8]>::to_vec).unwrap_or_default();
    let text = G::disassemble(&insns[0], &bytes, pc, mode);
    Step { pc, bytes, text, suspect: false }
}
