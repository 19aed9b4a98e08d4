//! The two modules that every host needs besides the regions: one runs region after region and has the functions that they
//! share, one defines the memory.

use super::abi::{ENTRY, MEMORY, MODULE, SHARED, TABLE};
use super::code::aligned;
use super::memory_type;
use crate::addr::{PAGE_MASK, PAGE_SHIFT};
use crate::lower::layout::{ENTRY_MASK, ENTRY_SHIFT, JUMP_MASK, JUMP_SHIFT, Layout};
use crate::mem::jumps::{JUMP_DROP, JUMP_FACTOR};
use crate::mem::tlb::{OTHER_PLACE, SKEW_MASK, SKEW_SHIFT, SKEW_TO};
use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection, ImportSection, MemArg,
    MemorySection, Module, RefType, TableType, TypeSection, ValType,
};

/// Numbers of the function types.
const REGION_TYPE: u32 = 0;
const RUN_TYPE: u32 = 1;
const SHARED_TYPE: u32 = 2;

/// The module that runs the region of a number, then the one that it returns, until one returns a negative number, which is
/// the result. A loop of calls: calls in tail position between modules cost more.
pub fn dispatcher(layout: &Layout) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], [ValType::I32]);
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
    let mut functions = FunctionSection::new();
    functions.function(RUN_TYPE).function(SHARED_TYPE).function(SHARED_TYPE);
    let mut exports = ExportSection::new();
    for (number, name) in [ENTRY].into_iter().chain(SHARED).enumerate() {
        exports.export(name, ExportKind::Func, number as u32);
    }
    let mut code = CodeSection::new();
    code.function(&run()).function(&look()).function(&jump(layout));
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&exports).section(&code);
    module.finish()
}

fn run() -> Function {
    let mut run = Function::new([]);
    let mut put = run.instructions();
    put.loop_(BlockType::Empty).local_get(0).call_indirect(0, REGION_TYPE).local_tee(0);
    put.i32_const(0).i32_ge_s().br_if(0).end().local_get(0).end();
    run
}

/// What `look` is told about the fields of a TLB entry that an access goes by: where the first entry of the context has its
/// tag and its addend.
pub(super) fn look_fields(tag: u32, addend: u32) -> i64 {
    i64::from(tag) | i64::from(addend) << 32
}

/// From an address, the tag that its entry must have, and the [`look_fields`], the linear address of an access that the entry in
/// its page's other place allows, or 0.
fn look() -> Function {
    const ADDRESS: u32 = 0;
    const WANTED: u32 = 1;
    const FIELDS: u32 = 2;
    const ENTRY: u32 = 3;
    let (own_shift, skew_shift) = (PAGE_SHIFT - ENTRY_SHIFT, SKEW_SHIFT - SKEW_TO - ENTRY_SHIFT);
    let skew_mask = (SKEW_MASK as i64) << (SKEW_TO + ENTRY_SHIFT);
    let other = (OTHER_PLACE as i32) << ENTRY_SHIFT;
    let mut look = Function::new([(1, ValType::I32)]);
    let mut put = look.instructions();
    put.local_get(ADDRESS).i64_const(own_shift.into()).i64_shr_u();
    put.local_get(ADDRESS).i64_const(skew_shift.into()).i64_shr_u().i64_const(skew_mask).i64_and();
    put.i64_xor().i32_wrap_i64().i32_const(ENTRY_MASK as i32).i32_and();
    put.i32_const(other).i32_xor().local_set(ENTRY);
    put.local_get(FIELDS).i32_wrap_i64().local_get(ENTRY).i32_add().i64_load(aligned(0, 3));
    put.local_get(WANTED).i64_eq().if_(BlockType::Result(ValType::I64));
    put.local_get(FIELDS).i64_const(32).i64_shr_u().i32_wrap_i64().local_get(ENTRY).i32_add();
    put.i64_load(aligned(0, 3)).local_get(ADDRESS).i64_add().i64_const(0xffff_ffff).i64_and();
    put.else_().i64_const(0).end().end();
    look
}

/// From an address, the region that its other place in the jump cache leads to, of which it is told; or a negative number.
fn jump(layout: &Layout) -> Function {
    const TARGET: u32 = 0;
    const ENTRY: u32 = 3;
    let (pc, tag, code) = layout.jump();
    let mut jump = Function::new([(1, ValType::I32)]);
    let mut put = jump.instructions();
    let field = |address: u32| aligned(address, 3);
    put.local_get(TARGET).i32_wrap_i64().i32_const(JUMP_FACTOR as i32).i32_mul();
    put.i32_const((JUMP_DROP - JUMP_SHIFT) as i32).i32_shr_u();
    put.i32_const((JUMP_MASK << JUMP_SHIFT) as i32).i32_and().i32_const(1 << JUMP_SHIFT).i32_xor();
    put.local_tee(ENTRY).i64_load(field(pc)).local_get(TARGET).i64_eq();
    put.local_get(ENTRY).i64_load(field(tag)).i32_const(0).i64_load(field(layout.context_tag())).i64_eq();
    put.i32_and().if_(BlockType::Result(ValType::I64));
    put.i32_const(0).local_get(TARGET).i64_const(!PAGE_MASK as i64).i64_and();
    put.i64_store(field(layout.page_base()));
    put.local_get(ENTRY).i64_load32_u(MemArg { align: 2, ..field(code) });
    put.else_().i64_const(-1).end().end();
    jump
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
