//! Regions as wasm modules, in wasmtime: guest code cannot leave the linear memory even if the translator is wrong.
//!
//! A store of wasmtime's frees nothing before it is dropped, so that [`Host::discard`] begins a new one over the same
//! memory. Regions call the host by imports; a call-out that ends its instruction unwinds to [`Host::enter`].

mod call_out;
mod memory;
mod space;

pub use space::Space;

use crate::addr::Gva;
use crate::cpu::Cpu;
use crate::guest::{Guest, Trap, TrapCause};
use crate::ir::region::Region;
use crate::jit::call_out::Leave;
use crate::lower::wasm::abi::{CallOut, ENTRY, MEMORY, Reason, Site, unlinked, unlinked_cell};
use crate::lower::wasm::{Target, dispatcher, links, lower};
use ::wasmtime::{
    Caller, Config, Engine, Extern, Func, Instance, Module, OptLevel, Ref, RefType, Store, StoreLimits,
    StoreLimitsBuilder, Table, TableType, TypedFunc,
};
use call_out::{carry_out, vcpu_of};
use memory::Creator;

/// Regions of one generation: the size of the table that they are called through.
const MAX_REGIONS: u32 = 1 << 13;

/// Why the host failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// There is no room for another region: all are to be discarded.
    #[error("there is no room for another region")]
    Full,
    /// wasmtime refused a module or could not run it.
    #[error("wasmtime: {0}")]
    Wasmtime(#[from] ::wasmtime::Error),
}

/// Number of an installed region, valid until they are discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeId(pub u32);

/// A way out of a region that leads to no region yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkCell(pub u32);

/// Why [`Host::enter`] returned. `Cpu::pc` is where to continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The instruction budget is used up or the run loop has something to look at.
    Countdown,
    /// The jump cache does not know the address.
    Jump,
    /// Nothing is linked to the way that was taken.
    Unlinked(LinkCell),
    /// The instruction at the address trapped.
    Trapped(Trap),
    /// The instruction at the address is to be interpreted.
    Interpret,
}

/// What a region is compiled with besides its blocks: the link cells of its ways out.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the region is lowered for.
    pub target: Target,
    links: Vec<i64>,
    first_link: u32,
}

impl Plan {
    /// Numbers of the cells.
    pub fn cells(&self) -> std::ops::Range<u32> {
        self.first_link..self.first_link + self.links.len() as u32
    }
}

/// A compiled region, to be installed.
pub struct Compiled {
    module: Module,
    plan: Plan,
}

/// Compiles regions, on any thread.
#[derive(Clone)]
pub struct Compiler(Engine);

impl Compiler {
    /// Compiles a region.
    ///
    /// # Errors
    /// wasmtime refuses it.
    pub fn compile(&self, region: &Region, plan: Plan) -> Result<Compiled, HostError> {
        let bytes = lower(region, &plan.target, &plan.links, plan.first_link);
        Ok(Compiled { module: Module::new(&self.0, bytes)?, plan })
    }
}

/// Who runs, while a region does.
struct Running<G: Guest> {
    cpu: *mut Cpu<G>,
    end: u64,
    leave: Option<Leave>,
    limits: StoreLimits,
}

// SAFETY: the pointer is used only inside of `enter`, which has it from an exclusive borrow.
unsafe impl<G: Guest> Send for Running<G> {}

/// A call-out ended the instruction; why is in [`Running`].
#[derive(Debug, thiserror::Error)]
#[error("the instruction ended")]
struct Stopped;

/// One store and what is in it.
struct Generation<G: Guest> {
    store: Store<Running<G>>,
    imports: Vec<Extern>,
    table: Table,
    run: TypedFunc<i32, i32>,
    regions: u32,
}

/// Runs regions of one vCPU.
pub struct Host<G: Guest> {
    engine: Engine,
    space: Space,
    memory: Module,
    dispatcher: Module,
    generation: Generation<G>,
    /// For each link cell given out, the distance of its target from its page.
    cells: Vec<i64>,
    /// For each region, the cells that lead to it.
    incoming: Vec<Vec<u32>>,
}

impl<G: Guest> Host<G> {
    /// A host for the vCPU and RAM in this memory.
    ///
    /// # Errors
    /// wasmtime's.
    pub fn new(space: &Space) -> Result<Self, HostError> {
        let engine = Engine::new(&config(space))?;
        let memory = Module::new(&engine, dispatcher::memory(space.wasm_pages()))?;
        let dispatcher = Module::new(&engine, dispatcher::dispatcher())?;
        let generation = Generation::new(&engine, &memory, &dispatcher)?;
        Ok(Self {
            engine,
            space: space.clone(),
            memory,
            dispatcher,
            generation,
            cells: Vec::new(),
            incoming: Vec::new(),
        })
    }

    /// What compiles regions for this host.
    pub fn compiler(&self) -> Compiler {
        Compiler(self.engine.clone())
    }

    /// Prepares compiling a region whose loads and stores use this TLB context.
    ///
    /// # Errors
    /// [`HostError::Full`].
    pub fn plan(&mut self, region: &Region, data_context: usize) -> Result<Plan, HostError> {
        let links = links(region);
        let first_link = self.cells.len() as u32;
        if self.cells.len() + links.len() > space::LINKS as usize || self.generation.regions == MAX_REGIONS {
            return Err(HostError::Full);
        }
        for (cell, &link) in (first_link..).zip(&links) {
            self.cells.push(link);
            self.space.set_link(cell, unlinked(cell));
        }
        let target = Target { layout: self.space.layout(), data_context, helpers: G::HELPERS };
        Ok(Plan { target, links, first_link })
    }

    /// Makes a compiled region ready to be entered. It must have been planned since regions were last discarded.
    ///
    /// # Errors
    /// [`HostError::Full`], or wasmtime's.
    pub fn install(&mut self, compiled: &Compiled) -> Result<CodeId, HostError> {
        let generation = &mut self.generation;
        let number = generation.regions;
        if number == MAX_REGIONS {
            return Err(HostError::Full);
        }
        debug_assert!(compiled.plan.first_link as usize + compiled.plan.links.len() <= self.cells.len());
        let instance = Instance::new(&mut generation.store, &compiled.module, &generation.imports)?;
        let entry = instance.get_func(&mut generation.store, ENTRY);
        generation.table.set(&mut generation.store, u64::from(number), Ref::Func(entry))?;
        generation.regions += 1;
        self.incoming.push(Vec::new());
        Ok(CodeId(number))
    }

    /// Compiles and installs a region.
    ///
    /// # Errors
    /// As [`Host::plan`], [`Compiler::compile`] and [`Host::install`].
    pub fn compile(&mut self, region: &Region, data_context: usize) -> Result<CodeId, HostError> {
        let plan = self.plan(region, data_context)?;
        let compiled = self.compiler().compile(region, plan)?;
        self.install(&compiled)
    }

    /// Lets a way out lead to a region: the one at its target, in the same guest page and mode.
    pub fn link(&mut self, LinkCell(cell): LinkCell, CodeId(code): CodeId) {
        self.incoming[code as usize].push(cell);
        self.space.set_link(cell, code as i32);
    }

    /// Ends all links to a region; entries of the jump cache are the caller's to forget.
    pub fn unlink(&mut self, CodeId(code): CodeId) {
        for cell in std::mem::take(&mut self.incoming[code as usize]) {
            self.space.set_link(cell, unlinked(cell));
        }
    }

    /// Lets jumps to an address, in the vCPU's current context, lead to a region.
    pub fn note_jump(&self, cpu: &mut Cpu<G>, pc: Gva, CodeId(code): CodeId) {
        let (context, tag) = (cpu.fetch_context(), cpu.context_tag());
        cpu.tlb.jumps.note(pc, context, tag, u64::from(code));
    }

    /// Discards all regions. No number of one stays valid; entries of the jump cache are the caller's to forget.
    ///
    /// # Errors
    /// wasmtime's.
    pub fn discard(&mut self) -> Result<(), HostError> {
        self.cells.clear();
        self.incoming.clear();
        self.generation = Generation::new(&self.engine, &self.memory, &self.dispatcher)?;
        Ok(())
    }

    /// Runs a region, which is one for `cpu.pc`, and those that follow, for about `budget` instructions.
    ///
    /// # Errors
    /// wasmtime's: a region did what none does, such as reaching beyond the memory.
    pub fn enter(&mut self, cpu: &mut Cpu<G>, code: CodeId, budget: u64) -> Result<Left, HostError> {
        assert!(cpu.vcpu().cast() == self.vcpu_place(), "the vCPU lies in this host's memory");
        let end = cpu.retired.wrapping_add(budget);
        let (page_base, tag) = (cpu.pc.page_start().0, cpu.context_tag());
        let vcpu = vcpu_of(cpu);
        vcpu.page_base = page_base;
        vcpu.context_tag = tag;
        vcpu.countdown = budget as i64;
        vcpu.withheld = 0;
        let generation = &mut self.generation;
        let running = generation.store.data_mut();
        (running.cpu, running.end, running.leave) = (std::ptr::from_mut(cpu), end, None);
        let returned = generation.run.call(&mut generation.store, code.0 as i32);
        let running = generation.store.data_mut();
        running.cpu = std::ptr::null_mut();
        let leave = running.leave.take();
        let vcpu = vcpu_of(cpu);
        let (left, pc) = match (returned, leave) {
            (Err(_), Some(Leave::Trap(trap))) => (Left::Trapped(trap), vcpu.pc),
            (Err(_), Some(Leave::Interpret)) => (Left::Interpret, vcpu.pc),
            (Err(_), Some(Leave::Look)) => (Left::Countdown, vcpu.pc),
            (Err(error), None) => return Err(error.into()),
            (Ok(returned), _) => match unlinked_cell(returned) {
                Some(cell) => {
                    let pc = vcpu.page_base.wrapping_add_signed(self.cells[cell as usize]);
                    (Left::Unlinked(LinkCell(cell)), pc)
                }
                None => (left_by(vcpu.exit, [vcpu.spill[0], vcpu.spill[1]]), vcpu.pc),
            },
        };
        let remaining = vcpu.countdown.wrapping_add(vcpu.withheld);
        cpu.pc = Gva(pc);
        cpu.retired = end.wrapping_sub(remaining as u64);
        Ok(left)
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

fn left_by(exit: u64, [cause, value]: [u64; 2]) -> Left {
    match Reason::from_number(exit) {
        Some(Reason::Countdown) => Left::Countdown,
        Some(Reason::Trap) => Left::Trapped(Trap::new(TrapCause(cause as u32), value)),
        Some(Reason::Jump) | None => Left::Jump,
    }
}

impl<G: Guest> Generation<G> {
    fn new(engine: &Engine, memory: &Module, dispatcher: &Module) -> Result<Self, HostError> {
        let limits = StoreLimitsBuilder::new().instances(MAX_REGIONS as usize + 2).build();
        let running = Running { cpu: std::ptr::null_mut(), end: 0, leave: None, limits };
        let mut store = Store::new(engine, running);
        store.limiter(|running| &mut running.limits);
        let instance = Instance::new(&mut store, memory, &[])?;
        let memory = instance.get_memory(&mut store, MEMORY);
        let mut imports: Vec<Extern> = memory.into_iter().map(Extern::from).collect();
        imports.extend(call_outs(&mut store).map(Extern::from));
        let ty = TableType::new(RefType::FUNCREF, MAX_REGIONS, Some(MAX_REGIONS));
        let table = Table::new(&mut store, ty, Ref::Func(None))?;
        let instance = Instance::new(&mut store, dispatcher, &[table.into()])?;
        let run = instance.get_typed_func(&mut store, ENTRY)?;
        Ok(Self { store, imports, table, run, regions: 0 })
    }
}

/// The call-outs in the order of their numbers. Each is a function of its own, so that what it does is known when it
/// is compiled.
fn call_outs<G: Guest>(store: &mut Store<Running<G>>) -> [Func; CallOut::ALL.len()] {
    macro_rules! functions {
        ($($call:ident),*) => {
            [$(Func::wrap(&mut *store, |caller: Caller<'_, Running<G>>, site: u64, a: u64, b: u64| {
                call(caller, CallOut::$call, site, a, b)
            })),*]
        };
    }
    functions![
        Load,
        Store,
        LoadToModify,
        CheckCrossingWrite,
        Amo,
        CompareExchange,
        LoadReserved,
        StoreConditional,
        Helper,
        VectorLoad,
        VectorStore,
        Vector,
        VectorInsert,
        VectorExtract
    ]
}

#[inline(always)]
fn call<G: Guest>(
    mut caller: Caller<'_, Running<G>>,
    call: CallOut,
    site: u64,
    a: u64,
    b: u64,
) -> Result<u64, ::wasmtime::Error> {
    let running = caller.data_mut();
    // SAFETY: set by `enter`, which borrows the vCPU exclusively and uses it for nothing else while wasm code runs.
    let cpu = unsafe { &mut *running.cpu };
    carry_out(cpu, running.end, call, Site::decode(site), a, b).map_err(|leave| {
        running.leave = Some(leave);
        Stopped.into()
    })
}

/// What is not needed is off: it costs time at a trap or bytes of a module.
fn config(space: &Space) -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .wasm_branch_hinting(true)
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(false)
        .memory_init_cow(false)
        .memory_may_move(false)
        .memory_reservation(space::REACH_BYTES as u64)
        .memory_guard_size(space::GUARD_BYTES as u64)
        .with_host_memory(std::sync::Arc::new(Creator(space.clone())));
    // SAFETY: both flags only leave out protection of the host against speculation by code that it does not trust with
    // reading other memory of its process; the code is our own translation.
    unsafe {
        config
            .cranelift_flag_set("enable_heap_access_spectre_mitigation", "false")
            .cranelift_flag_set("enable_table_access_spectre_mitigation", "false");
    }
    config
}
