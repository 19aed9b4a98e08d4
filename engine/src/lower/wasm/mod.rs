//! From a region to the bytes of a wasm module, which run in any engine: a browser's, or one inside a native program.
//!
//! `uses` decides which values are kept in locals; `function` walks the blocks, `ops`, `products`, `memory`, `vectors`,
//! `lanes` and `floats` write operations, `windows` loops that walk through memory, `switch` indirect jumps, `exits` the ways
//! out. What the module and its host agree on is in [`abi`] and [`crate::lower::calls`].

pub mod abi;
mod code;
pub mod dispatcher;
mod exits;
mod floats;
mod function;
mod lanes;
mod memory;
mod ops;
mod products;
mod switch;
mod uses;
mod vectors;
mod windows;

pub use crate::lower::layout::Layout;

use crate::emit::Slot;
use crate::guest::HelperInfo;
use crate::ir::region::Region;
use crate::lower::calls::CallOut;
use crate::lower::links::Plan;
use function::Lowering;
use wasm_encoder::{
    BranchHints, CodeSection, ConstExpr, EntityType, ExportKind, ExportSection, FunctionSection,
    GlobalSection, GlobalType, ImportSection, MemoryType, Module, TypeSection, ValType,
};

/// Numbers of the function types.
const REGION_TYPE: u32 = 0;
const CALL_OUT_TYPE: u32 = 1;
const POLYNOMIALS_TYPE: u32 = 2;
/// Number of the function that looks an address up at its other place in the jump cache: the call-outs, whose type it has,
/// precede it.
const JUMP: u32 = CallOut::ALL.len() as u32;
/// Number of the region's function.
const REGION: u32 = JUMP + 1;
/// Number of the variable that says where the link cells are.
const LINKS: u32 = 0;
/// Number of the function that multiplies polynomials, if there is one.
const POLYNOMIALS: u32 = REGION + 1;

/// What a region is lowered for.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Where things are.
    pub layout: Layout,
    /// The guest's helpers.
    pub helpers: &'static [HelperInfo],
    /// The guest's floating-point environment.
    pub float_environment: Option<Slot>,
}

/// The module of a region. It does not depend on the number of the plan's first link.
///
/// # Panics
/// If the region is empty or lies more than 2 GiB from its page.
pub fn lower(region: &Region, target: &Target, plan: &Plan) -> Vec<u8> {
    let mut lowering = Lowering::new(region, target, plan);
    lowering.write();
    let multiplies_polynomials = lowering.multiplies_polynomials;
    let (function, hints) = lowering.code.finish();

    let mut types = TypeSection::new();
    types.ty().function([], [ValType::I32]);
    types.ty().function([ValType::I64; 3], [ValType::I64]);
    let mut functions = FunctionSection::new();
    functions.function(REGION_TYPE);
    let mut code = CodeSection::new();
    code.function(&function);
    if multiplies_polynomials {
        types.ty().function([ValType::I64; 2], [ValType::I64]);
        functions.function(POLYNOMIALS_TYPE);
        code.function(&products::polynomials());
    }
    let mut imports = ImportSection::new();
    imports.import(abi::MODULE, abi::MEMORY, memory_type(0));
    for call in CallOut::ALL {
        imports.import(abi::MODULE, call.name(), EntityType::Function(CALL_OUT_TYPE));
    }
    imports.import(abi::MODULE, abi::JUMP, EntityType::Function(CALL_OUT_TYPE));
    let mut exports = ExportSection::new();
    exports.export(abi::ENTRY, ExportKind::Func, REGION);
    exports.export(abi::LINKS, ExportKind::Global, LINKS);
    let mut globals = GlobalSection::new();
    let address = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
    globals.global(address, &ConstExpr::i32_const(0));
    let mut branches = BranchHints::new();
    branches.function_hints(REGION, hints);

    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&globals).section(&exports);
    module.section(&branches).section(&code);
    module.finish()
}

/// A 32-bit memory of at least this many wasm pages.
fn memory_type(minimum: u64) -> MemoryType {
    MemoryType { minimum, maximum: None, memory64: false, shared: false, page_size_log2: None }
}
