//! An engine of wasmtime's, and the store in which what it compiled runs.

use super::memory::Creator;
use super::space::{self, Space};
use super::{missing, refused};
use crate::cpu::Cpu;
use crate::guest::Guest;
use crate::host::call_out::carry_out;
use crate::host::regions::{CallOuts, HostError};
use crate::jit::call_out::Leave;
use crate::lower::calls::{CallOut, LEFT, Site, with_call_outs};
use crate::lower::wasm::abi::{ENTRY, LINKS, LOOKING, MEMORY};
use crate::lower::wasm::dispatcher;
use ::wasmtime::{
    Caller, Config, Engine, Extern, Func, Instance, Module, OptLevel, Ref, RefType, Store, StoreLimits,
    StoreLimitsBuilder, Table, TableType, TypedFunc, Val,
};

/// Modules of one generation: the size of the table that they are called through.
pub(super) const MAX_MODULES: u32 = 1 << 13;

/// An engine and a store over the memory that all share.
pub(super) struct Modules<G: Guest> {
    pub(super) engine: Engine,
    memory: Module,
    dispatcher: Module,
    generation: Generation<G>,
    /// Of the generations before this one.
    call_outs: CallOuts,
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
    modules: u32,
}

impl<G: Guest> Modules<G> {
    /// One for code that runs over this memory.
    ///
    /// # Errors
    /// wasmtime's.
    pub(super) fn new(space: &Space) -> Result<Self, HostError> {
        let engine = Engine::new(&config(space)).map_err(refused)?;
        let memory = Module::new(&engine, dispatcher::memory(space.wasm_pages())).map_err(refused)?;
        let dispatcher = Module::new(&engine, dispatcher::dispatcher(&space.layout())).map_err(refused)?;
        let generation = Generation::new(&engine, &memory, &dispatcher).map_err(refused)?;
        Ok(Self { engine, memory, dispatcher, generation, call_outs: CallOuts::default() })
    }

    /// Adds a module whose link cells begin at this address, and tells its place.
    pub(super) fn add(&mut self, module: &Module, links: u32) -> Result<u32, HostError> {
        let generation = &mut self.generation;
        if generation.modules == MAX_MODULES {
            return Err(HostError::Full);
        }
        let place = generation.modules;
        generation.add(module, links).map_err(refused)?;
        Ok(place)
    }

    /// Drops all modules.
    pub(super) fn discard(&mut self) -> Result<(), HostError> {
        self.call_outs = self.call_outs();
        self.generation = Generation::new(&self.engine, &self.memory, &self.dispatcher).map_err(refused)?;
        Ok(())
    }

    /// What modules have called out for so far.
    pub(super) fn call_outs(&self) -> CallOuts {
        self.call_outs + self.generation.store.data().call_outs
    }

    /// Runs the region of a number and those that follow: gives what the last one returned, and why a call-out ended it.
    pub(super) fn run(
        &mut self,
        cpu: &mut Cpu<G>,
        end: u64,
        number: i32,
    ) -> Result<(i32, Option<Leave>), HostError> {
        let generation = &mut self.generation;
        let running = generation.store.data_mut();
        (running.cpu, running.end, running.leave) = (std::ptr::from_mut(cpu), end, None);
        let returned = generation.run.call(&mut generation.store, number);
        let running = generation.store.data_mut();
        running.cpu = std::ptr::null_mut();
        let leave = running.leave.take();
        match returned {
            Ok(returned) => Ok((returned, leave)),
            // The call-out that left unwound.
            Err(_) if leave.is_some() => Ok((LEFT, leave)),
            Err(error) => Err(refused(error)),
        }
    }
}

impl<G: Guest> Generation<G> {
    fn new(engine: &Engine, memory: &Module, dispatcher: &Module) -> Result<Self, ::wasmtime::Error> {
        let limits = StoreLimitsBuilder::new().instances(MAX_MODULES as usize + 2).build();
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
        let ty = TableType::new(RefType::FUNCREF, MAX_MODULES, Some(MAX_MODULES));
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
        let imports = memory.into_iter().chain(call_outs).collect();
        Ok(Self { store, imports, table, run, modules: 0 })
    }

    /// Adds a module whose link cells begin at this address.
    fn add(&mut self, module: &Module, links: u32) -> Result<(), ::wasmtime::Error> {
        let instance = Instance::new(&mut self.store, module, &self.imports)?;
        if let Some(global) = instance.get_global(&mut self.store, LINKS) {
            global.set(&mut self.store, Val::I32(links as i32))?;
        }
        let entry = instance.get_func(&mut self.store, ENTRY);
        self.table.set(&mut self.store, u64::from(self.modules), Ref::Func(entry))?;
        self.modules += 1;
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
