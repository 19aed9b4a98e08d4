//! The programs: what they are made from and how often they do their work.

use c2w::jit::Jit;
use c2w_packer::image::Arch;
use std::fmt;

/// What a group of programs is about; there is a mean for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Integers, branches, calls.
    Integer,
    /// Scalar floating point.
    Float,
    /// Vectors of 16 bytes, where the guest has them.
    Vector,
    /// Loads and stores that leave the caches.
    Memory,
    /// The kernel, and translation itself.
    System,
    /// Whole commands, whose code nothing has translated before; see `cold`.
    Cold,
    /// The same with translated code kept by an earlier run.
    Warm,
}

impl Group {
    /// All of them, in the order of the table.
    pub const ALL: [Group; 7] =
        [Group::Integer, Group::Float, Group::Vector, Group::Memory, Group::System, Group::Cold, Group::Warm];

    /// How many times faster than QEMU's translator c2w is to be, in the geometric mean over the group.
    pub fn aim(self, jit: Jit) -> Option<f64> {
        let (native, wasm) = match self {
            Group::Integer => (2.0, 1.3),
            Group::Float => (4.0, 3.0),
            Group::Vector => (8.0, 5.0),
            Group::Memory => (2.0, 1.3),
            Group::System => (1.5, 1.0),
            Group::Cold => (1.0, 0.5),
            Group::Warm => (2.0, 1.0),
        };
        match jit {
            Jit::Native => Some(native),
            Jit::Wasm => Some(wasm),
            Jit::Cranelift | Jit::Off => None,
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Group::Integer => "integer",
            Group::Float => "floating point",
            Group::Vector => "vectors",
            Group::Memory => "memory",
            Group::System => "system",
            Group::Cold => "cold",
            Group::Warm => "code cache warm",
        })
    }
}

/// A program of the suite.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Its name in the table, and its file name in the guest.
    pub name: &'static str,
    /// Where it belongs.
    pub group: Group,
    /// Its C text.
    pub source: &'static str,
    /// The C type that the text calls `REAL`.
    pub real: Option<&'static str>,
    /// How often it does its work, such that QEMU's translator takes 0.5 to 2 s and nobody less than some 10 ms.
    pub repeats: u64,
    /// The only architecture that it can be compiled for.
    pub only: Option<Arch>,
}

/// What every program includes.
pub const HEADER: &str = include_str!("../../guest/bench.h");

macro_rules! source {
    ($file:literal) => {
        include_str!(concat!("../../guest/", $file, ".c"))
    };
}

/// All of them, in the order of the table.
pub const WORKLOADS: [Workload; 31] = [
    plain("sieve", Group::Integer, source!("sieve"), 40),
    plain("sort", Group::Integer, source!("sort"), 100),
    plain("hash", Group::Integer, source!("hash"), 400),
    plain("sha256", Group::Integer, source!("sha256"), 600),
    plain("matrix", Group::Integer, source!("matrix"), 350),
    plain("recursion", Group::Integer, source!("recursion"), 1500),
    plain("bytecode", Group::Integer, source!("bytecode"), 220),
    plain("embedded", Group::Integer, source!("embedded"), 10000),
    real("nbody-f32", "float", source!("nbody"), 450),
    real("nbody-f64", "double", source!("nbody"), 450),
    real("matmul-f32", "float", source!("matmul"), 400),
    real("matmul-f64", "double", source!("matmul"), 400),
    real("mandelbrot-f32", "float", source!("mandelbrot"), 160),
    real("mandelbrot-f64", "double", source!("mandelbrot"), 160),
    real("lu-f32", "float", source!("lu"), 200),
    real("lu-f64", "double", source!("lu"), 250),
    plain("vector-bytes", Group::Vector, source!("vector-bytes"), 8000),
    plain("vector-ints", Group::Vector, source!("vector-ints"), 9000),
    plain("vector-floats", Group::Vector, source!("vector-floats"), 2000),
    plain("vector-scan", Group::Vector, source!("vector-scan"), 8000),
    plain("triad", Group::Memory, source!("triad"), 12),
    plain("memcpy", Group::Memory, source!("copy"), 150),
    plain("memset", Group::Memory, source!("clear"), 250),
    x86_64("rep-movs", Group::Memory, source!("rep-movs"), 200),
    x86_64("rep-stos", Group::Memory, source!("rep-stos"), 250),
    plain("pointers", Group::Memory, source!("chase"), 30),
    plain("syscall", Group::System, source!("syscall"), 2000),
    plain("forkexec", Group::System, source!("forkexec"), 300),
    plain("pipe", Group::System, source!("pipe"), 150),
    plain("faults", Group::System, source!("faults"), 150),
    plain("pages", Group::System, source!("pages"), 3000),
];

/// What is measured by the guest's clock, and is no line of the table: an indirect call and its return.
pub const INDIRECT: Workload = plain("indirect", Group::Integer, source!("indirect"), 200);

/// Every program there is for `arch`.
pub fn programs(arch: Option<Arch>) -> impl Iterator<Item = Workload> {
    WORKLOADS.into_iter().chain([INDIRECT]).filter(move |workload| workload.runs_on(arch))
}

const fn plain(name: &'static str, group: Group, source: &'static str, repeats: u64) -> Workload {
    Workload { name, group, source, real: None, repeats, only: None }
}

const fn real(name: &'static str, real: &'static str, source: &'static str, repeats: u64) -> Workload {
    Workload { real: Some(real), ..plain(name, Group::Float, source, repeats) }
}

const fn x86_64(name: &'static str, group: Group, source: &'static str, repeats: u64) -> Workload {
    Workload { only: Some(Arch::X86_64), ..plain(name, group, source, repeats) }
}

impl Workload {
    /// Whether there is such a program for `arch`.
    pub fn runs_on(&self, arch: Option<Arch>) -> bool {
        self.only.is_none() || self.only == arch
    }

    /// [`Self::repeats`] made longer or shorter; never nothing, which the programs take for something else.
    pub fn scaled(&self, scale: f64) -> u64 {
        ((self.repeats as f64 * scale).round() as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_distinct_and_groups_follow_each_other() {
        let names: BTreeSet<_> = programs(Some(Arch::X86_64)).map(|workload| workload.name).collect();
        assert_eq!(names.len(), WORKLOADS.len() + 1);
        let mut groups: Vec<_> = WORKLOADS.iter().map(|workload| workload.group).collect();
        groups.dedup();
        groups.extend([Group::Cold, Group::Warm]);
        assert_eq!(groups, Group::ALL);
    }

    #[test]
    fn something_is_always_done() {
        let twenty = Workload { repeats: 20, ..WORKLOADS[0] };
        assert_eq!([2.0, 1.0, 0.12, 0.0].map(|scale| twenty.scaled(scale)), [40, 20, 2, 1]);
    }
}
