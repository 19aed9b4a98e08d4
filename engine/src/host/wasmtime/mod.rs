//! Regions as wasm modules, in wasmtime: guest code cannot leave the linear memory even if the translator is wrong.
//!
//! A store of wasmtime's frees nothing before it is dropped, so that [`RegionHost::discard`] begins a new one over the same
//! memory. Regions call the host by imports; a call-out that ends its instruction unwinds to `enter`.

mod memory;
mod space;

pub use space::Space;

use crate::addr::Gva;
use crate::cpu::Cpu;
use crate::guest::Guest;
use crate::host::call_out::carry_out;
use crate::host::regions::{
    CallOuts, Cells, CodeId, Compiler, HostError, Left, LinkCell, OwnCode, RegionHost, prepare, settle,
};
use crate::ir::region::Region;
use crate::jit::call_out::Leave;
use crate::lower::calls::{CallOut, LEFT, Site, unlinked, with_call_outs};
use crate::lower::links::Plan;
use crate::lower::wasm::abi::{ENTRY, JUMP, LINKS, LOOKING, MEMORY};
use crate::lower::wasm::{Target, dispatcher, lower};
use ::wasmtime::{
    Caller, Config, Engine, Extern, Func, Instance, Module, OptLevel, Ref, RefType, Store, StoreLimits,
    StoreLimitsBuilder, Table, TableType, TypedFunc, Val,
};
use memory::Creator;

/// Regions of one generation: the size of the table that they are called through.
const MAX_REGIONS: u32 = 1 << 13;

/// A compiled region.
pub struct Compiled {
    module: Module,
    plan: Plan,
}

/// Compiles regions for the memory of one host.
pub struct ModuleCompiler {
    engine: Engine,
    target: Target,
}

impl Compiler for ModuleCompiler {
    type Compiled = Compiled;

    fn compile(&mut self, region: &Region, plan: Plan) -> Result<Compiled, HostError> {
        let bytes = lower(region, &self.target, &plan);
        Ok(Compiled { module: Module::new(&self.engine, bytes).map_err(refused)?, plan })
    }
}

fn refused(error: ::wasmtime::Error) -> HostError {
    HostError::Compiler(error.into())
}

fn missing(name: &str) -> ::wasmtime::Error {
    ::wasmtime::Error::msg(format!("{name} is not exported"))
}

/// Who runs, while a region does.
struct Running<G: Guest> {
    cpu: *mut Cpu<G>,
    end: u64,
    leave: Option<Leave>,
    call_outs: CallOuts,
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
    cells: Cells,
    /// Of the generations before this one.
    call_outs: CallOuts,
}

impl<G: Guest> Host<G> {
    /// A host for the vCPU and RAM in this memory.
    ///
    /// # Errors
    /// wasmtime's.
    pub fn new(space: &Space) -> Result<Self, HostError> {
        let engine = Engine::new(&config(space)).map_err(refused)?;
        let memory = Module::new(&engine, dispatcher::memory(space.wasm_pages())).map_err(refused)?;
        let dispatcher = Module::new(&engine, dispatcher::dispatcher(&space.layout())).map_err(refused)?;
        let generation = Generation::new(&engine, &memory, &dispatcher).map_err(refused)?;
        Ok(Self {
            engine,
            space: space.clone(),
            memory,
            dispatcher,
            generation,
            cells: Cells::default(),
            call_outs: CallOuts::default(),
        })
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
        let target = Target {
            layout: self.space.layout(),
            helpers: G::HELPERS,
            float_environment: G::FLOAT_ENVIRONMENT,
        };
        ModuleCompiler { engine: self.engine.clone(), target }
    }

    fn plan_links(&mut self, links: Vec<i64>, data_context: usize) -> Result<Plan, HostError> {
        if self.generation.regions == MAX_REGIONS {
            return Err(HostError::Full);
        }
        let plan = self.cells.plan(links, data_context, space::LINKS as usize).ok_or(HostError::Full)?;
        plan.cells().for_each(|cell| self.space.set_link(cell, unlinked(cell)));
        Ok(plan)
    }

    fn keep(&self, compiled: &Compiled) -> Option<Vec<u8>> {
        compiled.module.serialize().ok()
    }

    fn revive(&self, OwnCode(bytes): OwnCode<'_>, plan: Plan) -> Option<Compiled> {
        // SAFETY: `OwnCode` says that these bytes were serialized by this program, run by this user, and are whole; wasmtime
        // compares its version, its settings and the processor's features.
        let module = unsafe { Module::deserialize(&self.engine, bytes) }.ok()?;
        Some(Compiled { module, plan })
    }

    fn install(&mut self, compiled: &Compiled) -> Result<CodeId, HostError> {
        let generation = &mut self.generation;
        let number = generation.regions;
        if number == MAX_REGIONS {
            return Err(HostError::Full);
        }
        debug_assert!(self.cells.knows(&compiled.plan));
        let links = self.space.layout().link(compiled.plan.first_link);
        generation.add(&compiled.module, links).map_err(refused)?;
        self.cells.installed();
        Ok(CodeId(number))
    }

    fn link(&mut self, cell: LinkCell, code: CodeId) {
        self.cells.link(cell, code);
        self.space.set_link(cell.0, code.0 as i32);
    }

    fn unlink(&mut self, code: CodeId) {
        for cell in self.cells.unlink(code) {
            self.space.set_link(cell, unlinked(cell));
        }
    }

    fn note_jump(&self, cpu: &mut Cpu<G>, pc: Gva, CodeId(code): CodeId) {
        let (context, tag) = (cpu.fetch_context(), cpu.context_tag());
        cpu.tlb.jumps.note(pc, context, tag, u64::from(code));
    }

    fn discard(&mut self) -> Result<(), HostError> {
        self.cells.clear();
        self.call_outs = self.call_outs();
        self.generation = Generation::new(&self.engine, &self.memory, &self.dispatcher).map_err(refused)?;
        Ok(())
    }

    /// Unknown.
    fn code_bytes(&self) -> u64 {
        0
    }

    fn call_outs(&self) -> CallOuts {
        let now = self.generation.store.data().call_outs;
        CallOuts { all: self.call_outs.all + now.all, helpers: self.call_outs.helpers + now.helpers }
    }

    fn enter(&mut self, cpu: &mut Cpu<G>, code: CodeId, budget: u64) -> Result<Left, HostError> {
        assert!(cpu.vcpu().cast() == self.vcpu_place(), "the vCPU lies in this host's memory");
        let end = prepare(cpu, budget);
        let generation = &mut self.generation;
        let running = generation.store.data_mut();
        (running.cpu, running.end, running.leave) = (std::ptr::from_mut(cpu), end, None);
        let returned = generation.run.call(&mut generation.store, code.0 as i32);
        let running = generation.store.data_mut();
        running.cpu = std::ptr::null_mut();
        let leave = running.leave.take();
        let returned = match returned {
            Ok(returned) => returned,
            // The call-out that left unwound.
            Err(_) if leave.is_some() => LEFT,
            Err(error) => return Err(refused(error)),
        };
        Ok(settle(cpu, end, returned, leave, &self.cells))
    }
}

impl<G: Guest> Generation<G> {
    fn new(engine: &Engine, memory: &Module, dispatcher: &Module) -> Result<Self, ::wasmtime::Error> {
        let limits = StoreLimitsBuilder::new().instances(MAX_REGIONS as usize + 2).build();
        let running = Running {
            cpu: std::ptr::null_mut(),
            end: 0,
            leave: None,
            call_outs: CallOuts::default(),
            limits,
        };
        let mut store = Store::new(engine, running);
        store.limiter(|running| &mut running.limits);
        let instance = Instance::new(&mut store, memory, &[])?;
        let memory = vec![instance.get_export(&mut store, MEMORY).ok_or_else(|| missing(MEMORY))?];
        let ty = TableType::new(RefType::FUNCREF, MAX_REGIONS, Some(MAX_REGIONS));
        let table = Table::new(&mut store, ty, Ref::Func(None))?;
        let mut call_outs = call_outs(&mut store).map(Extern::from);
        let mut shared: Vec<Extern> = memory.iter().cloned().chain([table.into()]).collect();
        shared.extend(LOOKING.iter().map(|&call| call_outs[call as usize].clone()));
        let instance = Instance::new(&mut store, dispatcher, &shared)?;
        let run = instance.get_typed_func(&mut store, ENTRY)?;
        let mut exported = |name: &str| instance.get_export(&mut store, name).ok_or_else(|| missing(name));
        for call in LOOKING {
            call_outs[call as usize] = exported(call.name())?;
        }
        let jump = exported(JUMP)?;
        let imports = memory.into_iter().chain(call_outs).chain([jump]).collect();
        Ok(Self { store, imports, table, run, regions: 0 })
    }

    /// Adds a region whose link cells begin at this address.
    fn add(&mut self, module: &Module, links: u32) -> Result<(), ::wasmtime::Error> {
        let instance = Instance::new(&mut self.store, module, &self.imports)?;
        if let Some(global) = instance.get_global(&mut self.store, LINKS) {
            global.set(&mut self.store, Val::I32(links as i32))?;
        }
        let entry = instance.get_func(&mut self.store, ENTRY);
        self.table.set(&mut self.store, u64::from(self.regions), Ref::Func(entry))?;
        self.regions += 1;
        Ok(())
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
    with_call_outs!(functions)
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
    running.call_outs.count(call);
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
        .table_lazy_init(false)
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
