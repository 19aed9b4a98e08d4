//! Regions as wasm modules, in wasmtime: guest code cannot leave the linear memory even if the translator is wrong.
//!
//! A module costs some 250 microseconds whatever is in it, so that small regions are compiled together; each guest instruction takes
//! some 60, fewer where loads and stores call a function of the dispatcher's. (Winch takes 7, but its code is twice as long and no
//! faster than the interpreter: it keeps nothing in registers, and clears every local at each entry. The same goes for
//! Cranelift without optimization and with its single-pass register allocator, which takes 35.)
//!
//! A store of wasmtime's frees nothing before it is dropped, so that [`RegionHost::discard`] begins a new one over the same
//! memory. Regions call the host by imports; a call-out that ends its instruction unwinds to `enter`.

mod memory;
mod modules;
mod space;

pub use space::Space;

use crate::addr::Gva;
use crate::cpu::Cpu;
use crate::guest::Guest;
use crate::host::regions::{
    CallOuts, Cells, CodeId, Compiler, HostError, Left, LinkCell, OwnCode, RegionHost, prepare, settle,
};
use crate::ir::region::Region;
use crate::lower::calls::unlinked;
use crate::lower::links::Plan;
use crate::lower::wasm::abi;
use crate::lower::wasm::{Target, lower, lower_together};
use ::wasmtime::{Engine, Module};
use modules::Modules;

/// Compiled regions.
pub struct Compiled {
    module: Module,
    regions: u32,
    first_link: u32,
}

/// Compiles regions for the memory of one host.
pub struct ModuleCompiler {
    engine: Engine,
    target: Target,
    is_brief: bool,
}

impl Compiler for ModuleCompiler {
    type Compiled = Compiled;
    const AT_ONCE: usize = abi::MAX_REGIONS;
    const IS_QUICK: bool = true;

    fn compile(&mut self, region: &Region, plan: Plan) -> Result<Compiled, HostError> {
        let plan = Plan { is_brief: self.is_brief, ..plan };
        let module = Module::new(&self.engine, lower(region, &self.target, &plan)).map_err(refused)?;
        Ok(Compiled { module, regions: 1, first_link: plan.first_link })
    }

    fn compile_quickly(&mut self, mut regions: Vec<(Region, Plan)>) -> Result<Compiled, HostError> {
        regions.iter_mut().for_each(|(_, plan)| plan.is_brief = true);
        let (first_link, count) = (regions[0].1.first_link, regions.len() as u32);
        let regions: Vec<_> = regions.iter().map(|(region, plan)| (region, plan)).collect();
        let module = lower_together(&regions, &self.target);
        let module = Module::new(&self.engine, module).map_err(refused)?;
        Ok(Compiled { module, regions: count, first_link })
    }
}

fn refused(error: ::wasmtime::Error) -> HostError {
    HostError::Compiler(error.into())
}

fn missing(name: &str) -> ::wasmtime::Error {
    ::wasmtime::Error::msg(format!("{name} is not exported"))
}

/// Runs regions of one vCPU.
pub struct Host<G: Guest> {
    space: Space,
    modules: Modules<G>,
    /// For each region, what leads to it.
    numbers: Vec<i32>,
    cells: Cells,
    is_brief: bool,
}

impl<G: Guest> Host<G> {
    /// A host for the vCPU and RAM in this memory.
    ///
    /// # Errors
    /// wasmtime's.
    pub fn new(space: &Space) -> Result<Self, HostError> {
        Ok(Self {
            space: space.clone(),
            modules: Modules::new(space)?,
            numbers: Vec::new(),
            cells: Cells::default(),
            is_brief: false,
        })
    }

    /// One that compiles everything quickly.
    ///
    /// # Errors
    /// wasmtime's.
    pub fn brief(space: &Space) -> Result<Self, HostError> {
        Ok(Self { is_brief: true, ..Self::new(space)? })
    }

    /// The memory as it stands, which the same modules run over elsewhere.
    pub fn image(&self, cpu: &Cpu<G>) -> Vec<u8> {
        assert!(cpu.vcpu().cast() == self.vcpu_place(), "the vCPU lies in this host's memory");
        // SAFETY: the accessible part of the space, which only the vCPU's owner and its code write: `cpu` is borrowed.
        unsafe { std::slice::from_raw_parts(self.space.base().as_ptr(), self.space.size_bytes()) }.to_vec()
    }

    fn vcpu_place(&self) -> std::ptr::NonNull<u8> {
        // SAFETY: the layout's addresses are inside the space.
        unsafe { self.space.base().add(self.space.layout().vcpu as usize) }
    }
}

impl<G: Guest> RegionHost<G> for Host<G> {
    type Compiler = ModuleCompiler;

    fn compiler(&self) -> ModuleCompiler {
        ModuleCompiler {
            engine: self.modules.engine.clone(),
            target: Target {
                layout: self.space.layout(),
                helpers: G::HELPERS,
                float_environment: G::FLOAT_ENVIRONMENT,
            },
            is_brief: self.is_brief,
        }
    }

    fn plan_links(&mut self, links: Vec<i64>, data_context: usize) -> Result<Plan, HostError> {
        let plan = self.cells.plan(links, data_context, space::LINKS as usize).ok_or(HostError::Full)?;
        plan.cells().for_each(|cell| self.space.set_link(cell, unlinked(cell)));
        Ok(plan)
    }

    fn keep(&self, compiled: &Compiled) -> Option<Vec<u8>> {
        compiled.module.serialize().ok()
    }

    fn revive(&self, OwnCode(bytes): OwnCode<'_>, plans: &[Plan]) -> Option<Compiled> {
        // SAFETY: `OwnCode` says that these bytes were serialized by this program, run by this user, and are whole; wasmtime
        // compares its version, its settings and the processor's features.
        let module = unsafe { Module::deserialize(&self.modules.engine, bytes) }.ok()?;
        let first_link = plans.first()?.first_link;
        Some(Compiled { module, regions: plans.len() as u32, first_link })
    }

    fn install(&mut self, compiled: &Compiled) -> Result<CodeId, HostError> {
        let links = self.space.layout().link(compiled.first_link);
        let place = self.modules.add(&compiled.module, links)?;
        let first = self.numbers.len() as u32;
        for region in 0..compiled.regions {
            self.numbers.push(abi::number(place, region));
            self.cells.installed();
        }
        Ok(CodeId(first))
    }

    fn link(&mut self, cell: LinkCell, code: CodeId) {
        self.cells.link(cell, code);
        self.space.set_link(cell.0, self.numbers[code.0 as usize]);
    }

    fn unlink(&mut self, code: CodeId) {
        for cell in self.cells.unlink(code) {
            self.space.set_link(cell, unlinked(cell));
        }
    }

    fn note_jump(&self, cpu: &mut Cpu<G>, pc: Gva, CodeId(code): CodeId) {
        let (context, tag) = (cpu.fetch_context(), cpu.context_tag());
        cpu.tlb.jumps.note(pc, context, tag, self.numbers[code as usize] as u64);
    }

    fn discard(&mut self) -> Result<(), HostError> {
        self.cells.clear();
        self.numbers.clear();
        self.modules.discard()
    }

    /// Unknown.
    fn code_bytes(&self) -> u64 {
        0
    }

    fn call_outs(&self) -> CallOuts {
        self.modules.call_outs()
    }

    fn enter(&mut self, cpu: &mut Cpu<G>, code: CodeId, budget: u64) -> Result<Left, HostError> {
        assert!(cpu.vcpu().cast() == self.vcpu_place(), "the vCPU lies in this host's memory");
        let end = prepare(cpu, budget);
        let (returned, leave) = self.modules.run(cpu, end, self.numbers[code.0 as usize])?;
        Ok(settle(cpu, end, returned, leave, &self.cells))
    }
}
