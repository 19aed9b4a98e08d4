//! The two modules that every host needs besides the regions: one runs region after region, one defines the memory.

use super::abi::{ENTRY, MEMORY, MODULE, TABLE};
use super::memory_type;
use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection, ImportSection,
    MemorySection, Module, RefType, TableType, TypeSection, ValType,
};

/// Runs the region of a number, then the one that it returns, until one returns a negative number, which is the result.
/// A loop of calls: calls in tail position between modules cost more.
pub fn dispatcher() -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], [ValType::I32]);
    types.ty().function([ValType::I32], [ValType::I32]);
    let mut imports = ImportSection::new();
    let table = TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: 0,
        maximum: None,
        shared: false,
    };
    imports.import(MODULE, TABLE, table);
    let mut functions = FunctionSection::new();
    functions.function(1);
    let mut exports = ExportSection::new();
    exports.export(ENTRY, ExportKind::Func, 0);
    let mut run = Function::new([]);
    let mut put = run.instructions();
    put.loop_(BlockType::Empty).local_get(0).call_indirect(0, 0).local_tee(0);
    put.i32_const(0).i32_ge_s().br_if(0).end().local_get(0).end();
    let mut code = CodeSection::new();
    code.function(&run);
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&exports).section(&code);
    module.finish()
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
