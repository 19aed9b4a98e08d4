//! Regions as functions that Cranelift makes, for every processor that it knows: the native host where no lowering of our
//! own is for it.
//!
//! A region goes on to the next in tail position, by the address in a link cell or in the jump cache; the host is called
//! by address, too, and finds who runs by [`crate::vcpu::Links::argument`].

mod compiler;

pub use compiler::{Compiled, FunctionCompiler};

use super::code_memory::{ALIGNMENT, CodeMemory};
use super::regions::{CallOuts, Cells, CodeId, HostError, Left, LinkCell, RegionHost, prepare, settle};
use crate::addr::Gva;
use crate::cpu::Cpu;
use crate::guest::Guest;
use crate::host::call_out::{carry_out, vcpu_of};
use crate::ir::eval;
use crate::ir::ops::Binary;
use crate::jit::call_out::Leave;
use crate::lower::calls::{CallOut, Site, with_call_outs};
use crate::lower::clif::{GO_ON, Target};
use crate::lower::links::Plan;
use crate::vcpu::Vcpu;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// Link cells of regions that were not discarded.
const LINKS: usize = 1 << 18;

/// Who runs, while a region does.
struct Running<G: Guest> {
    cpu: NonNull<Cpu<G>>,
    end: u64,
    leave: Option<Leave>,
    call_outs: CallOuts,
}

/// What a call-out gives.
#[repr(C)]
pub struct Outcome {
    result: u64,
    /// [`GO_ON`], or the region is to be left.
    ended: u64,
}

/// Code, one after the other.
struct Code {
    memory: CodeMemory,
    used: usize,
}

impl Code {
    /// Adds code and tells where it starts.
    fn add(&mut self, code: &[u8]) -> Result<usize, HostError> {
        let at = self.used.next_multiple_of(ALIGNMENT);
        if at.checked_add(code.len()).is_none_or(|end| end > self.memory.len_bytes()) {
            return Err(HostError::Full);
        }
        self.memory.write(at, code, |_| ());
        self.used = at + code.len();
        Ok(at)
    }

    /// The address of code that was added.
    fn address(&self, at: usize) -> u64 {
        self.memory.code(at).as_ptr() as u64
    }
}

/// Runs regions of one vCPU.
pub struct Host<G: Guest> {
    code: Code,
    /// Where the code that all others share ends.
    kept: usize,
    /// Runs a region.
    enter: usize,
    /// What unlinked cells lead to.
    unlinked: u64,
    /// Addresses of code.
    links: Box<[u64]>,
    regions: Vec<u64>,
    cells: Cells,
    call_outs: CallOuts,
    guest: PhantomData<fn(&mut G)>,
}

impl<G: Guest> Host<G> {
    /// A host for any vCPU, with room for so much code, which costs nothing until it is used.
    ///
    /// # Errors
    /// Cranelift does not know this processor, or there is no memory for code.
    pub fn new(code_bytes: u64) -> Result<Self, HostError> {
        let memory = CodeMemory::new(code_bytes as usize);
        let memory = memory.map_err(|errno| HostError::Compiler(errno.into()))?;
        let mut code = Code { memory, used: 0 };
        let mut compiler = FunctionCompiler::new(Target::none())?;
        let enter = code.add(&compiler.entry()?)?;
        let unlinked = code.add(&compiler.unlinked()?)?;
        Ok(Self {
            kept: code.used,
            enter,
            unlinked: code.address(unlinked),
            code,
            links: vec![0; LINKS].into(),
            regions: Vec::new(),
            cells: Cells::default(),
            call_outs: CallOuts::default(),
            guest: PhantomData,
        })
    }
}

impl<G: Guest> RegionHost<G> for Host<G> {
    type Compiler = FunctionCompiler;

    fn compiler(&self) -> FunctionCompiler {
        let target = Target {
            helpers: G::HELPERS,
            float_environment: G::FLOAT_ENVIRONMENT,
            rounds: false,
            fuses: false,
            links: self.links.as_ptr() as u64,
            call_outs: call_outs::<G>(),
            polynomials: [low_product as Product, high_product].map(|function| function as usize as u64),
        };
        FunctionCompiler::new(target).expect("`new` made one")
    }

    fn plan_links(&mut self, links: Vec<i64>, data_context: usize) -> Result<Plan, HostError> {
        let plan = self.cells.plan(links, data_context, self.links.len()).ok_or(HostError::Full)?;
        self.links[plan.cells().start as usize..plan.cells().end as usize].fill(self.unlinked);
        Ok(plan)
    }

    fn install(&mut self, compiled: &Compiled) -> Result<CodeId, HostError> {
        debug_assert!(self.cells.knows(&compiled.plan));
        let at = self.code.add(&compiled.code)?;
        self.regions.push(self.code.address(at));
        self.cells.installed();
        Ok(CodeId(self.regions.len() as u32 - 1))
    }

    fn link(&mut self, cell: LinkCell, code: CodeId) {
        self.cells.link(cell, code);
        self.links[cell.0 as usize] = self.regions[code.0 as usize];
    }

    fn unlink(&mut self, code: CodeId) {
        for cell in self.cells.unlink(code) {
            self.links[cell as usize] = self.unlinked;
        }
    }

    fn note_jump(&self, cpu: &mut Cpu<G>, pc: Gva, CodeId(code): CodeId) {
        let (context, tag) = (cpu.fetch_context(), cpu.context_tag());
        cpu.tlb.jumps.note(pc, context, tag, self.regions[code as usize]);
    }

    fn discard(&mut self) -> Result<(), HostError> {
        self.cells.clear();
        self.regions.clear();
        self.code.used = self.kept;
        Ok(())
    }

    fn code_bytes(&self) -> u64 {
        (self.code.used - self.kept) as u64
    }

    fn call_outs(&self) -> CallOuts {
        self.call_outs
    }

    fn enter(&mut self, cpu: &mut Cpu<G>, CodeId(code): CodeId, budget: u64) -> Result<Left, HostError> {
        type Enter = unsafe extern "C" fn(NonNull<Vcpu>, u64) -> i32;
        let end = prepare(cpu, budget);
        let cpu_pointer = NonNull::from(&mut *cpu);
        let mut running = Running { cpu: cpu_pointer, end, leave: None, call_outs: self.call_outs };
        vcpu_of(cpu).links.argument = std::ptr::from_mut(&mut running) as u64;
        let (vcpu, region) = (cpu.vcpu(), self.regions[code as usize]);
        // SAFETY: the function was compiled with this signature and convention (`FunctionCompiler::entry`). It runs regions
        // that were lowered for vCPUs of this guest. `cpu` is borrowed exclusively, and used by the code, and by the call-outs
        // that it makes through `running`, alone.
        let returned = unsafe {
            let enter: Enter = std::mem::transmute(self.code.memory.code(self.enter).as_ptr());
            enter(vcpu, region)
        };
        self.call_outs = running.call_outs;
        Ok(settle(cpu, end, returned, running.leave, &self.cells))
    }
}

/// The functions of the call-outs by their numbers. Each is a function of its own, so that what it does is known when it
/// is compiled.
fn call_outs<G: Guest>() -> [u64; CallOut::ALL.len()] {
    macro_rules! functions {
        ($($call:ident),*) => {
            [$({
                unsafe extern "C" fn function<G: Guest>(vcpu: NonNull<Vcpu>, site: u64, a: u64, b: u64) -> Outcome {
                    // SAFETY: the caller's promise.
                    unsafe { call::<G>(vcpu, CallOut::$call, site, a, b) }
                }
                function::<G> as unsafe extern "C" fn(NonNull<Vcpu>, u64, u64, u64) -> Outcome as usize as u64
            }),*]
        };
    }
    with_call_outs!(functions)
}

/// # Safety
/// Code that [`Host::enter`] runs for this guest calls, with its vCPU.
#[inline(always)]
unsafe fn call<G: Guest>(vcpu: NonNull<Vcpu>, call: CallOut, site: u64, a: u64, b: u64) -> Outcome {
    // SAFETY: `enter` set the argument to its `Running`, which lives until the code returns and which nothing else uses
    // until then; the same goes for the vCPU that it points to.
    let (running, cpu) = unsafe {
        let running = &mut *((*vcpu.as_ptr()).links.argument as *mut Running<G>);
        let cpu = running.cpu.as_mut();
        (running, cpu)
    };
    running.call_outs.count(call);
    match carry_out(cpu, running.end, call, Site::decode(site), a, b) {
        Ok(result) => Outcome { result, ended: GO_ON },
        Err(leave) => {
            running.leave = Some(leave);
            Outcome { result: 0, ended: GO_ON + 1 }
        }
    }
}

type Product = extern "C" fn(u64, u64) -> u64;

extern "C" fn low_product(a: u64, b: u64) -> u64 {
    eval::binary(Binary::ClMul, crate::addr::Width::W64, a, b)
}

extern "C" fn high_product(a: u64, b: u64) -> u64 {
    eval::binary(Binary::ClMulHigh, crate::addr::Width::W64, a, b)
}
