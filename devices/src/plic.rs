//! The RISC-V platform-level interrupt controller, in the layout of SiFive's and QEMU's `virt`.
//!
//! Each source has a level gateway: a high line becomes pending, is claimed once, and is looked at again when its
//! handler completes it (RISC-V PLIC specification 1.0.0, §1.2).

use crate::fdt::{self, FdtWriter, Place};
use c2w_engine::addr::Width;
use c2w_engine::irq::{Attention, IrqLine, IrqLines};
use c2w_engine::mem::device::{DeviceEnv, MmioDevice};
use serde::{Deserialize, Serialize};

/// Length of the window.
pub const WINDOW_BYTES: u64 = 0x60_0000;
/// Most sources, the unusable number 0 included.
pub const MAX_SOURCES: u32 = 128;
/// Most contexts that fit the window.
pub const MAX_CONTEXTS: usize = 1024;

const PRIORITY: u64 = 0;
const PENDING: u64 = 0x1000;
const ENABLE: u64 = 0x2000;
const ENABLE_STRIDE: u64 = 0x80;
const CONTEXT: u64 = 0x20_0000;
const CONTEXT_STRIDE: u64 = 0x1000;
/// Priorities are three bits wide.
const PRIORITY_MASK: u32 = 7;

/// Interrupt numbers at the hart (RISC-V privileged, mip).
const HART_MEI: u32 = 11;
const HART_SEI: u32 = 9;

/// One bit for each source.
type SourceSet = [u64; BANKS];
const BANKS: usize = MAX_SOURCES as usize / 64;

fn bit(set: &SourceSet, source: u32) -> bool {
    set[source as usize / 64] >> (source % 64) & 1 != 0
}

fn set_bit(set: &mut SourceSet, source: u32, value: bool) {
    let word = &mut set[source as usize / 64];
    *word = *word & !(1 << (source % 64)) | u64::from(value) << (source % 64);
}

fn word(set: &SourceSet, index: u64) -> u32 {
    set.get(index as usize / 2).map_or(0, |bank| (bank >> (32 * (index & 1))) as u32)
}

/// What a context (a hart in a privilege mode) set up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextState {
    /// Sources it listens to, one bit each.
    pub enabled: [u64; BANKS],
    /// Only higher priorities interrupt.
    pub threshold: u32,
}

/// State of the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlicState {
    /// Levels of the input lines.
    pub levels: [u64; BANKS],
    /// Sources that wait to be claimed.
    pub pending: [u64; BANKS],
    /// Sources that were claimed and not completed.
    pub claimed: [u64; BANKS],
    /// Priority of each source.
    pub priorities: Vec<u32>,
    /// Each context.
    pub contexts: Vec<ContextState>,
}

/// The controller.
pub struct Plic {
    inputs: [IrqLines; BANKS],
    outputs: Vec<IrqLine>,
    /// The sources that exist; number 0 does not.
    sources: SourceSet,
    state: PlicState,
}

impl Plic {
    /// A controller with sources 1 to `sources - 1` and one context for each of `outputs`. On the `virt` board those
    /// are machine mode then supervisor mode of hart 0, of hart 1 and so on. Input changes set `attention`.
    ///
    /// # Panics
    /// If there are more than [`MAX_SOURCES`] or [`MAX_CONTEXTS`]: a mistake of the board.
    pub fn new(sources: u32, outputs: Vec<IrqLine>, attention: &Attention) -> Self {
        assert!(sources <= MAX_SOURCES && outputs.len() <= MAX_CONTEXTS, "the PLIC's window holds them");
        let mut existing = [0; BANKS];
        (1..sources).for_each(|source| set_bit(&mut existing, source, true));
        let state = PlicState {
            levels: [0; BANKS],
            pending: [0; BANKS],
            claimed: [0; BANKS],
            priorities: vec![0; sources as usize],
            contexts: vec![ContextState::default(); outputs.len()],
        };
        Self { inputs: std::array::from_fn(|_| IrqLines::new(attention)), outputs, sources: existing, state }
    }

    /// The saved controller, or `None` if the state is of one with other sources or contexts.
    pub fn restore(
        sources: u32,
        outputs: Vec<IrqLine>,
        attention: &Attention,
        state: &PlicState,
    ) -> Option<Self> {
        let mut plic = Self::new(sources, outputs, attention);
        let sets = [&state.levels, &state.pending, &state.claimed];
        let sets = sets.into_iter().chain(state.contexts.iter().map(|context| &context.enabled));
        let fits = state.priorities.len() == sources as usize
            && state.contexts.len() == plic.outputs.len()
            && plic.numbers_fit(state)
            && { sets }.all(|set| set.iter().zip(&plic.sources).all(|(set, existing)| set & !existing == 0));
        if !fits {
            return None;
        }
        plic.state = state.clone();
        plic.inputs.iter().zip(state.levels).for_each(|(bank, levels)| bank.restore(levels));
        plic.drive_outputs();
        Some(plic)
    }

    fn numbers_fit(&self, state: &PlicState) -> bool {
        let thresholds = state.contexts.iter().map(|context| context.threshold);
        state.priorities.iter().copied().chain(thresholds).all(|priority| priority <= PRIORITY_MASK)
    }

    /// The state.
    pub fn save(&self) -> PlicState {
        PlicState { levels: self.levels(), ..self.state.clone() }
    }

    /// The input line of `source`.
    ///
    /// # Panics
    /// If there is no such source: a mistake of the board.
    pub fn source(&self, source: u32) -> IrqLine {
        assert!(source < MAX_SOURCES && bit(&self.sources, source), "the PLIC has no source {source}");
        self.inputs[source as usize / 64].line(source % 64)
    }

    /// Looks at the inputs and drives the outputs.
    pub fn service(&mut self) {
        self.sample();
        self.drive_outputs();
    }

    /// Writes the device tree node with `phandle` as its own; `cpu_interrupt_controllers` holds each hart's phandle.
    pub fn write_fdt(
        &self,
        fdt: &mut FdtWriter,
        place: &Place,
        phandle: u32,
        cpu_interrupt_controllers: &[u32],
    ) -> Result<(), fdt::Error> {
        let node = fdt.begin_node(&place.node_name("plic"))?;
        let names = ["sifive,plic-1.0.0", "riscv,plic0"];
        fdt.property_string_list("compatible", names.map(String::from).to_vec())?;
        place.write_reg(fdt)?;
        fdt.property_null("interrupt-controller")?;
        fdt.property_u32("#interrupt-cells", 1)?;
        fdt.property_u32("#address-cells", 0)?;
        let wires: Vec<u32> =
            cpu_interrupt_controllers.iter().flat_map(|&cpu| [cpu, HART_MEI, cpu, HART_SEI]).collect();
        fdt.property_array_u32("interrupts-extended", &wires)?;
        fdt.property_u32("riscv,ndev", self.state.priorities.len() as u32 - 1)?;
        fdt.property_phandle(phandle)?;
        fdt.end_node(node)
    }

    fn levels(&self) -> SourceSet {
        std::array::from_fn(|bank| self.inputs[bank].levels())
    }

    /// The gateways: a high line whose source is not being handled becomes pending, and stays so.
    fn sample(&mut self) {
        for (bank, levels) in self.levels().into_iter().enumerate() {
            self.state.pending[bank] |= levels & self.sources[bank] & !self.state.claimed[bank];
        }
    }

    fn drive_outputs(&self) {
        for (context, output) in self.state.contexts.iter().zip(&self.outputs) {
            output.set(self.best(context).is_some());
        }
    }

    /// The source a claim by `context` gets: the highest priority above the threshold, the lowest number among equals.
    fn best(&self, context: &ContextState) -> Option<u32> {
        let mut best = None;
        let mut best_priority = context.threshold;
        for bank in 0..BANKS {
            let mut waiting = self.state.pending[bank] & context.enabled[bank];
            while waiting != 0 {
                let source = bank as u32 * 64 + waiting.trailing_zeros();
                let priority = self.state.priorities[source as usize];
                if priority > best_priority {
                    best = Some(source);
                    best_priority = priority;
                }
                waiting &= waiting - 1;
            }
        }
        best
    }

    fn claim(&mut self, context: usize) -> u32 {
        let Some(source) = self.best(&self.state.contexts[context]) else {
            return 0;
        };
        set_bit(&mut self.state.pending, source, false);
        set_bit(&mut self.state.claimed, source, true);
        source
    }

    /// Ends the handling of a source. Numbers the context does not listen to are ignored (§1.5).
    fn complete(&mut self, context: usize, source: u32) {
        if source < MAX_SOURCES && bit(&self.state.contexts[context].enabled, source) {
            set_bit(&mut self.state.claimed, source, false);
        }
    }

    fn context_at(&self, offset: u64, base: u64, stride: u64) -> Option<(usize, u64)> {
        let context = ((offset - base) / stride) as usize;
        (context < self.outputs.len()).then_some((context, (offset - base) % stride))
    }
}

impl MmioDevice for Plic {
    fn widths(&self) -> &'static [Width] {
        &[Width::W32]
    }

    fn read(&mut self, offset: u64, _width: Width, _env: &mut DeviceEnv<'_>) -> u64 {
        self.sample();
        let value = match offset {
            CONTEXT.. => match self.context_at(offset, CONTEXT, CONTEXT_STRIDE) {
                Some((context, 0)) => self.state.contexts[context].threshold,
                Some((context, 4)) => self.claim(context),
                _ => 0,
            },
            ENABLE.. => self
                .context_at(offset, ENABLE, ENABLE_STRIDE)
                .map_or(0, |(context, offset)| word(&self.state.contexts[context].enabled, offset / 4)),
            PENDING.. => word(&self.state.pending, (offset - PENDING) / 4),
            PRIORITY.. => self.state.priorities.get(offset as usize / 4).copied().unwrap_or(0),
        };
        self.drive_outputs();
        value.into()
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64, _env: &mut DeviceEnv<'_>) {
        let value = value as u32;
        match offset {
            CONTEXT.. => match self.context_at(offset, CONTEXT, CONTEXT_STRIDE) {
                Some((context, 0)) => self.state.contexts[context].threshold = value & PRIORITY_MASK,
                Some((context, 4)) => self.complete(context, value),
                _ => {}
            },
            ENABLE.. => {
                if let Some((context, offset)) = self.context_at(offset, ENABLE, ENABLE_STRIDE) {
                    let (bank, half) = (offset as usize / 8, (offset / 4) & 1);
                    let enabled = &mut self.state.contexts[context].enabled;
                    if let (Some(bits), Some(existing)) = (enabled.get_mut(bank), self.sources.get(bank)) {
                        let mask = u64::from(u32::MAX) << (32 * half);
                        *bits = (*bits & !mask | u64::from(value) << (32 * half)) & existing;
                    }
                }
            }
            // Pending bits are read-only.
            PENDING.. => {}
            PRIORITY.. => {
                if let Some(priority) =
                    self.state.priorities.get_mut(offset as usize / 4).filter(|_| offset != 0)
                {
                    *priority = value & PRIORITY_MASK;
                }
            }
        }
        self.service();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    struct Rig {
        plic: Plic,
        outputs: IrqLines,
        bench: Bench,
    }

    impl Rig {
        fn new() -> Self {
            let attention = Attention::default();
            let outputs = IrqLines::new(&attention);
            let plic = Plic::new(96, vec![outputs.line(0), outputs.line(1)], &attention);
            Self { plic, outputs, bench: Bench::new() }
        }
        fn write(&mut self, offset: u64, value: u64) {
            self.plic.write(offset, Width::W32, value, &mut self.bench.env());
        }
        fn read(&mut self, offset: u64) -> u64 {
            self.plic.read(offset, Width::W32, &mut self.bench.env())
        }
        /// Gives `source` a priority and enables it for the supervisor context.
        fn enable(&mut self, source: u64, priority: u64) {
            self.write(4 * source, priority);
            let register = ENABLE + ENABLE_STRIDE + source / 32 * 4;
            let enabled = self.read(register);
            self.write(register, enabled | 1 << (source % 32));
        }
    }

    const CLAIM: u64 = CONTEXT + CONTEXT_STRIDE + 4;
    const THRESHOLD: u64 = CONTEXT + CONTEXT_STRIDE;

    #[test]
    fn a_level_is_claimed_once_and_again_while_it_stays_high() {
        let mut rig = Rig::new();
        rig.enable(10, 1);
        let line = rig.plic.source(10);
        line.raise();
        rig.plic.service();
        assert_eq!(rig.outputs.levels(), 0b10, "supervisor context only");
        assert_eq!(rig.read(PENDING), 1 << 10);
        assert_eq!(rig.read(CLAIM), 10);
        assert_eq!((rig.read(CLAIM), rig.outputs.levels()), (0, 0));
        rig.write(CLAIM, 10);
        assert_eq!(rig.outputs.levels(), 0b10, "still high at completion");
        assert_eq!(rig.read(CLAIM), 10);
        line.lower();
        rig.write(CLAIM, 10);
        assert_eq!((rig.read(CLAIM), rig.outputs.levels()), (0, 0));
    }

    #[test]
    fn priority_then_number_then_threshold_decide() {
        let mut rig = Rig::new();
        for (source, priority) in [(3, 1), (70, 7), (5, 7), (8, 0)] {
            rig.enable(source, priority);
            rig.plic.source(source as u32).raise();
        }
        rig.write(THRESHOLD, 1);
        assert_eq!([rig.read(CLAIM), rig.read(CLAIM), rig.read(CLAIM)], [5, 70, 0]);
        assert_eq!(rig.outputs.levels(), 0);
        rig.write(THRESHOLD, 0);
        assert_eq!([rig.read(CLAIM), rig.read(CLAIM)], [3, 0], "priority 0 never interrupts");
    }

    #[test]
    fn completing_what_is_not_enabled_is_ignored() {
        let mut rig = Rig::new();
        rig.enable(10, 1);
        rig.plic.source(10).raise();
        assert_eq!(rig.read(CLAIM), 10);
        rig.write(CONTEXT + 4, 10);
        rig.write(CLAIM, 11);
        rig.write(CLAIM, 0xffff_ffff);
        assert_eq!(rig.read(CLAIM), 0);
    }

    #[test]
    fn source_zero_and_absent_registers_hold_nothing() {
        let mut rig = Rig::new();
        for offset in
            [0, ENABLE + 12, ENABLE + 2 * ENABLE_STRIDE, CONTEXT + 2 * CONTEXT_STRIDE, 4 * 96, PENDING + 4]
        {
            rig.write(offset, 0xffff_ffff);
            assert_eq!(rig.read(offset), 0, "{offset:#x}");
        }
        rig.write(ENABLE, 0xffff_ffff);
        assert_eq!(rig.read(ENABLE), 0xffff_fffe);
    }

    #[test]
    fn a_saved_controller_goes_on() {
        let mut rig = Rig::new();
        rig.enable(10, 1);
        rig.enable(70, 2);
        rig.plic.source(10).raise();
        rig.plic.source(70).raise();
        assert_eq!(rig.read(CLAIM), 70);
        let saved = rig.plic.save();
        let attention = Attention::default();
        let outputs = IrqLines::new(&attention);
        let lines = vec![outputs.line(0), outputs.line(1)];
        assert!(Plic::restore(64, lines.clone(), &attention, &saved).is_none());
        let mut restored = Plic::restore(96, lines, &attention, &saved).unwrap();
        assert_eq!((restored.save(), outputs.levels()), (saved, 0b10));
        assert_eq!(restored.read(CLAIM, Width::W32, &mut rig.bench.env()), 10);
    }
}
