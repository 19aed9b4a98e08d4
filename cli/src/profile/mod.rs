//! `--profile`: where a guest spends its instructions, as folded stacks, which tools for flame graphs read.
//!
//! The machine is stopped every [`PERIOD`] instructions on average, at the next place where it can be, and the address
//! where it is counts for them: the head of a loop, the end of a region, a block that is interpreted. Frames are what the
//! code belongs to (`kernel`, or the program), the library, the function, and the address; a line ends with how many
//! instructions were counted there.
//!
//! Functions of the kernel come from the `System.map` that was built with it, those of a kernel file from its symbol
//! table, and those of programs and libraries from their dynamic symbols, which are read in the guest's memory while the
//! program runs ([`modules`]).

mod modules;
mod symbols;

use crate::snapshot::{MachineState, Saves};
use crate::vm::Computer;
use anyhow::{Context, Result};
use c2w_engine::addr::Gva;
use c2w_engine::guest::Guest;
use c2w_engine::jit::TranslatorStatistics;
use c2w_engine::jit::verify::VerifierStatistics;
use c2w_engine::machine::{Exit, Machine, Statistics};
use c2w_engine::mem::ram::Ram;
use modules::Modules;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
pub use symbols::Symbols;

/// Instructions from one sample to the next, on average. A power of two.
const PERIOD: u64 = 1 << 16;

/// A machine that is watched.
pub struct Profiled<G: Guest> {
    machine: Machine<G>,
    path: PathBuf,
    file: File,
    kernel: Symbols,
    modules: Modules,
    /// Samples by stack.
    counts: HashMap<String, u64>,
    /// Instructions until the next sample.
    left: u64,
    random: u64,
    /// Instructions that had been counted at the last sample.
    counted: u64,
}

impl<G: Guest> Profiled<G> {
    /// Watches a machine whose kernel has these symbols, for a file that is made at once.
    ///
    /// # Errors
    /// It cannot be.
    pub fn new(machine: Machine<G>, path: &Path, kernel: Symbols) -> Result<Self> {
        let cannot = || format!("--profile: cannot write {}", path.display());
        let file = File::create(path).with_context(cannot)?;
        Ok(Self {
            machine,
            path: path.into(),
            file,
            kernel,
            modules: Modules::default(),
            counts: HashMap::new(),
            left: PERIOD,
            random: 0x2545_f491_4f6c_dd1d,
            counted: 0,
        })
    }

    /// Not always the same number, or loops would always be stopped at the same place.
    fn pause(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        PERIOD / 2 + self.random % PERIOD
    }

    fn sample(&mut self) {
        let cpu = &mut self.machine.cpu;
        let pc = cpu.pc;
        let stack = if G::is_user(cpu.mode()) {
            let space = G::address_space(cpu);
            let stack_pointer = Gva(cpu.slots[usize::from(G::STACK_POINTER.0)]);
            let mut read = |at: u64, to: &mut [u8]| cpu.read_bytes(Gva(at), to).is_ok();
            self.modules.stack(&mut read, space, pc.0, stack_pointer.0)
        } else {
            match self.kernel.at(pc.0) {
                Some(name) => format!("kernel;{name};{pc}"),
                None => format!("kernel;{pc}"),
            }
        };
        let retired = self.machine.cpu.retired;
        *self.counts.entry(stack).or_default() += retired - self.counted;
        self.counted = retired;
    }
}

impl<G: Guest + Saves> Computer for Profiled<G> {
    fn run(&mut self, budget: u64) -> Exit {
        let end = self.machine.cpu.retired.saturating_add(budget);
        loop {
            let before = self.machine.cpu.retired;
            let exit = self.machine.run(self.left.min(end.saturating_sub(before)));
            let retired = self.machine.cpu.retired;
            self.left = self.left.saturating_sub(retired - before);
            if self.left == 0 {
                self.sample();
                self.left = self.pause();
            }
            if exit != Exit::Budget || retired >= end {
                return exit;
            }
        }
    }

    fn now_ns(&self) -> u64 {
        self.machine.cpu.now_ns()
    }

    fn statistics(&self) -> Statistics {
        self.machine.statistics()
    }

    fn translator_statistics(&self) -> Option<TranslatorStatistics> {
        self.machine.translator_statistics()
    }

    fn devices_can_wake(&self) -> bool {
        G::devices_can_wake(&self.machine.cpu)
    }

    fn save_code(&mut self, effort: Duration) -> io::Result<()> {
        self.machine.save_code(effort)
    }

    fn save(&self) -> MachineState {
        G::save(&self.machine)
    }

    fn ram(&self) -> &Ram {
        &self.machine.cpu.ram
    }

    fn divergence(&self) -> Option<String> {
        self.machine.divergence().map(ToString::to_string)
    }

    fn verifier_statistics(&self) -> Option<VerifierStatistics> {
        self.machine.verifier_statistics()
    }

    fn write_profile(&self) -> Result<()> {
        let mut lines: Vec<String> =
            self.counts.iter().map(|(stack, count)| format!("{stack} {count}\n")).collect();
        lines.sort();
        let written = (&self.file).write_all(lines.concat().as_bytes());
        written.with_context(|| format!("--profile: cannot write {}", self.path.display()))
    }
}
