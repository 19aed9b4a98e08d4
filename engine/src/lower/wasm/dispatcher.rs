//! The two modules that every host needs besides the regions: one runs region after region and has functions that they share,
//! one defines the memory.

use super::abi::{ENTRY, LOOK_UP, LOOKING, MEMORY, MODULE, PLACE_SHIFT, TABLE};
use super::code::aligned;
use super::exits::push_jump_entry;
use super::memory::{load, push_other_entry, push_own_entry, store, unaligned};
use super::memory_type;
use crate::addr::{PAGE_MASK, Width};
use crate::lower::calls::{CONTEXT_SHIFT, CallOut, LEFT, Reason};
use crate::lower::layout::{ENTRY_SHIFT, JUMP_SHIFT, Layout, Tag};
use crate::mem::tlb::{ENTRIES, MAX_CONTEXTS, Space};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, ImportSection, InstructionSink, MemArg, MemorySection, Module, RefType,
    TableType, TypeSection, ValType,
};

/// Numbers of the function types.
const REGION_TYPE: u32 = 0;
const SHARED_TYPE: u32 = 1;

/// Number of the variable that counts looks.
const LOOKS: u32 = 0;
/// One in so many is the host's.
const HOST_LOOKS: i32 = 8;

/// The module that runs the region of a number, then the one that it returns, until one returns a negative number, which is
/// the result. A loop of calls: calls in tail position between modules cost more.
pub fn dispatcher(layout: &Layout) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    types.ty().function([ValType::I64; 3], [ValType::I64]);
    let mut imports = ImportSection::new();
    imports.import(MODULE, MEMORY, memory_type(0));
    let table = TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: 0,
        maximum: None,
        shared: false,
    };
    imports.import(MODULE, TABLE, table);
    let (mut functions, mut exports, mut code) =
        (FunctionSection::new(), ExportSection::new(), CodeSection::new());
    let mut add = |name: &str, ty: u32, body: &Function| {
        exports.export(name, ExportKind::Func, LOOKING.len() as u32 + functions.len());
        functions.function(ty);
        code.function(body);
    };
    add(ENTRY, REGION_TYPE, &run(layout));
    for (number, call) in LOOKING.into_iter().enumerate() {
        imports.import(MODULE, call.name(), EntityType::Function(SHARED_TYPE));
        add(call.name(), SHARED_TYPE, &access(layout, call, number as u32));
    }
    let mut globals = GlobalSection::new();
    let count = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
    globals.global(count, &ConstExpr::i32_const(0));
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&globals).section(&exports);
    module.section(&code);
    module.finish()
}

fn run(layout: &Layout) -> Function {
    const NUMBER: u32 = 0;
    let mut run = Function::new([(1, ValType::I32), (1, ValType::I64)]);
    let mut put = run.instructions();
    put.loop_(BlockType::Empty);
    put.local_get(NUMBER).local_get(NUMBER).i32_const(PLACE_SHIFT as i32).i32_shr_u();
    put.call_indirect(0, REGION_TYPE).local_tee(NUMBER);
    put.i32_const(0).i32_ge_s().br_if(0);
    put.local_get(NUMBER).i32_const(LOOK_UP).i32_eq().if_(BlockType::Empty);
    look_up(&mut put, layout);
    put.local_tee(NUMBER).i32_const(0).i32_ge_s().br_if(1).end().end();
    put.local_get(NUMBER).end();
    run
}

/// Pushes the number of the region that the jump cache knows for the vCPU's address, in the one place or the other, and tells the
/// region its page; or that there is none, with the reason for leaving.
fn look_up(put: &mut InstructionSink<'_>, layout: &Layout) {
    const ENTRY: u32 = 1;
    const TARGET: u32 = 2;
    let (pc, tag, code) = layout.jump();
    let field = |address: u32| aligned(address, 3);
    let is_there = |put: &mut InstructionSink<'_>| {
        put.local_tee(ENTRY).i64_load(field(pc)).local_get(TARGET).i64_eq();
        put.local_get(ENTRY).i64_load(field(tag)).i32_const(0).i64_load(field(layout.context_tag())).i64_eq();
        put.i32_and();
    };
    put.i32_const(0).i64_load(field(layout.pc())).local_set(TARGET);
    push_jump_entry(put, TARGET);
    is_there(put);
    put.if_(BlockType::Result(ValType::I32)).i32_const(1).else_();
    put.local_get(ENTRY).i32_const(1 << JUMP_SHIFT).i32_xor();
    is_there(put);
    put.end().if_(BlockType::Result(ValType::I32));
    put.i32_const(0).local_get(TARGET).i64_const(!PAGE_MASK as i64).i64_and();
    put.i64_store(field(layout.page_base()));
    put.local_get(ENTRY).i32_load(MemArg { align: 2, ..field(code) });
    put.else_().i32_const(0).i64_const(Reason::Jump as i64).i64_store(field(layout.exit()));
    put.i32_const(LEFT).end();
}

/// A load or store by which a region calls out: done here if the entry in one of the page's two places in the TLB allows it, else
/// by the host's function. Who has looked into the first in vain is here seldom.
fn access(layout: &Layout, call: CallOut, host: u32) -> Function {
    const SITE: u32 = 0;
    const ADDRESS: u32 = 1;
    const VALUE: u32 = 2;
    const CONTEXT: u32 = 3;
    const ENTRY: u32 = 4;
    const WIDTH: u32 = 5;
    const WANTED: u32 = 6;
    let tag = if call == CallOut::Load { Tag::Read } else { Tag::Write };
    let field = |address: u32| aligned(address, 3);
    let mut access = Function::new([(3, ValType::I32), (1, ValType::I64)]);
    let mut put = access.instructions();
    put.local_get(SITE).i32_wrap_i64().i32_const(3).i32_and().local_set(WIDTH);
    put.local_get(SITE).i32_wrap_i64().i32_const(CONTEXT_SHIFT as i32).i32_shr_u();
    put.i32_const(MAX_CONTEXTS as i32 - 1).i32_and().local_set(CONTEXT);
    // What an entry's tag has to be: the page of the last byte is that of the first.
    put.i64_const(1).local_get(WIDTH).i64_extend_i32_u().i64_shl().i64_const(1).i64_sub();
    put.local_get(ADDRESS).i64_add().i64_const(!PAGE_MASK as i64).i64_and();
    put.local_get(CONTEXT).i32_const(size_of::<Space>() as i32).i32_mul();
    put.i64_load(field(layout.space(0))).i64_or().local_set(WANTED);
    // The distance of the own entry from the first one of all contexts.
    push_own_entry(&mut put, ADDRESS);
    put.local_get(CONTEXT).i32_const((ENTRIES << ENTRY_SHIFT) as i32).i32_mul().i32_add();
    put.local_tee(ENTRY).i64_load(field(layout.tag(0, tag))).local_get(WANTED).i64_ne().if_(BlockType::Empty);
    // The same of the other.
    push_other_entry(&mut put, ADDRESS);
    put.local_get(CONTEXT).i32_const((ENTRIES << ENTRY_SHIFT) as i32).i32_mul().i32_add();
    put.local_tee(ENTRY).i64_load(field(layout.tag(0, tag))).local_get(WANTED).i64_ne();
    // Now and then the host's function makes it its own place.
    put.global_get(LOOKS).i32_const(1).i32_add().global_set(LOOKS);
    put.global_get(LOOKS).i32_const(HOST_LOOKS - 1).i32_and().i32_eqz().i32_or().if_(BlockType::Empty);
    put.local_get(SITE).local_get(ADDRESS).local_get(VALUE).call(host).return_().end().end();
    put.local_get(ENTRY).i64_load(field(layout.addend(0))).local_get(ADDRESS).i64_add().i32_wrap_i64();
    put.local_set(ENTRY);
    for _ in Width::ALL {
        put.block(BlockType::Empty);
    }
    put.local_get(WIDTH).br_table(0..Width::ALL.len() as u32 - 1, Width::ALL.len() as u32 - 1);
    for w in Width::ALL {
        put.end().local_get(ENTRY);
        if call == CallOut::Store {
            put.local_get(VALUE);
            store(&mut put, w, unaligned());
            put.i64_const(0);
        } else {
            load(&mut put, w, unaligned());
        }
        put.return_();
    }
    put.unreachable().end();
    access
}

/// Defines and exports a memory of this many wasm pages. Hosts that provide the memory themselves may be asked only for
/// what a module defines.
pub fn memory(pages: u64) -> Vec<u8> {
    let mut memories = MemorySection::new();
    let mut ty = memory_type(pages);
    ty.maximum = Some(pages);
    memories.memory(ty);
    let mut exports = ExportSection::new();
    exports.export(MEMORY, ExportKind::Memory, 0);
    let mut module = Module::new();
    module.section(&memories).section(&exports);
    module.finish()
}
