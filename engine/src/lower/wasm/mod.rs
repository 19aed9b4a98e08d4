//! From regions to the bytes of a wasm module, which run in any engine: a browser's, or one inside a native program.
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
    BlockType, BranchHints, CodeSection, ConstExpr, EntityType, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, ImportSection, MemoryType, Module, TypeSection, ValType,
};

/// Numbers of the function types.
const REGION_TYPE: u32 = 0;
const CALL_OUT_TYPE: u32 = 1;
const POLYNOMIALS_TYPE: u32 = 2;
/// Number of the first region's function: the call-outs precede it.
const REGION: u32 = CallOut::ALL.len() as u32;
/// Number of the variable that says where the link cells are.
const LINKS: u32 = 0;

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
    lower_together(&[(region, plan)], target)
}

/// The module of several regions, whose links have cells one behind the other.
///
/// # Panics
/// As [`lower`], or there are none, or more than [`abi::MAX_REGIONS`].
pub fn lower_together(regions: &[(&Region, &Plan)], target: &Target) -> Vec<u8> {
    assert!((1..=abi::MAX_REGIONS).contains(&regions.len()), "{} regions", regions.len());
    let choose = REGION + regions.len() as u32;
    let has_choice = regions.len() > 1;
    let polynomials = choose + u32::from(has_choice);
    let (mut functions, mut code, mut branches) =
        (FunctionSection::new(), CodeSection::new(), BranchHints::new());
    let (mut first_link, mut multiplies_polynomials) = (0, false);
    for (number, (region, plan)) in (REGION..).zip(regions) {
        let mut lowering = Lowering::new(region, target, plan, first_link, polynomials);
        lowering.write();
        multiplies_polynomials |= lowering.multiplies_polynomials;
        let (function, hints) = lowering.code.finish();
        functions.function(REGION_TYPE);
        code.function(&function);
        branches.function_hints(number, hints);
        first_link += plan.links.len() as u32;
    }

    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    types.ty().function([ValType::I64; 3], [ValType::I64]);
    if has_choice {
        functions.function(REGION_TYPE);
        code.function(&choice(regions.len() as u32));
    }
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
    let mut exports = ExportSection::new();
    exports.export(abi::ENTRY, ExportKind::Func, if has_choice { choose } else { REGION });
    exports.export(abi::LINKS, ExportKind::Global, LINKS);
    let mut globals = GlobalSection::new();
    let address = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
    globals.global(address, &ConstExpr::i32_const(0));

    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&globals).section(&exports);
    module.section(&branches).section(&code);
    module.finish()
}

/// The function that runs one of so many regions, by its number. Only what a module exports is compiled for callers from
/// elsewhere, which takes as long as a small region.
fn choice(count: u32) -> Function {
    let mut choice = Function::new([]);
    let mut put = choice.instructions();
    for _ in 0..count {
        put.block(BlockType::Empty);
    }
    put.local_get(0).i32_const(abi::MAX_REGIONS as i32 - 1).i32_and().br_table(0..count - 1, count - 1);
    for region in 0..count {
        put.end().local_get(0).call(REGION + region).return_();
    }
    put.unreachable().end();
    choice
}

/// A 32-bit memory of at least this many wasm pages.
fn memory_type(minimum: u64) -> MemoryType {
    MemoryType { minimum, maximum: None, memory64: false, shared: false, page_size_log2: None }
}
